// The C client (libnats): a fetch(500) loop that acknowledges, or asynchronous confirmed publishes.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_FETCHED 500
#define MOST_PENDING 4000

static void check(natsStatus status, const char *what) {
    if (status == NATS_OK) return;
    fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static const char *order(const char *name) {
    const char *value = getenv(name);
    if (value != NULL) return value;
    fprintf(stderr, "%s is not set\n", name);
    exit(1);
}

static void consume(jsCtx *js) {
    natsSubscription *subscription = NULL;
    jsSubOptions options;
    jsErrCode code = 0;
    int window = atoi(order("BENCH_WINDOW")), batch = window < MOST_FETCHED ? window : MOST_FETCHED;
    check(jsSubOptions_Init(&options), "options");
    options.Stream = "B";
    options.Consumer = "c";
    check(js_PullSubscribe(&subscription, js, NULL, "c", NULL, &options, &code), "subscribe");
    for (;;) {
        natsMsgList list = {0};
        natsStatus status = natsSubscription_Fetch(&list, subscription, batch, 5000, &code);
        if (status != NATS_OK && status != NATS_TIMEOUT) check(status, "fetch");
        for (int i = 0; i < list.Count; i++) check(natsMsg_Ack(list.Msgs[i], NULL), "ack");
        natsMsgList_Destroy(&list);
    }
}

static void publish(jsCtx *js) {
    long messages = atol(order("BENCH_MESSAGES"));
    int size = atoi(order("BENCH_SIZE"));
    char *payload = malloc(size), line[16];
    memset(payload, 'x', size);
    puts("ready");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) exit(1);
    for (long i = 0; i < messages; i++) check(js_PublishAsync(js, "out.x", payload, size, NULL), "publish");
    check(js_PublishAsyncComplete(js, NULL), "complete");
    puts("done");
    fflush(stdout);
    pause();
}

int main(void) {
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    jsOptions options;
    check(natsConnection_ConnectTo(&connection, order("BENCH_URL")), "connect");
    check(jsOptions_Init(&options), "options");
    options.PublishAsync.MaxPending = MOST_PENDING;
    check(natsConnection_JetStream(&js, connection, &options), "JetStream");
    if (strcmp(order("BENCH_MODE"), "publish") == 0) publish(js);
    else consume(js);
    return 0;
}
