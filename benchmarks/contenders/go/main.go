// nats.go: Consume with acknowledgement, or asynchronous confirmed publishes.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	must(err)
	return value
}

func consume(js jetstream.JetStream, mode string) {
	consumer, err := js.Consumer(context.Background(), "B", "c")
	must(err)
	handle := func(message jetstream.Msg) { must(message.Ack()) }
	if mode == "sleep" {
		handle = func(message jetstream.Msg) {
			go func() {
				time.Sleep(time.Millisecond)
				must(message.Ack())
			}()
		}
	}
	_, err = consumer.Consume(handle, jetstream.PullMaxMessages(number("BENCH_WINDOW")))
	must(err)
	select {}
}

func publish(js jetstream.JetStream) {
	payload := make([]byte, number("BENCH_SIZE"))
	fmt.Println("ready")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	for range number("BENCH_MESSAGES") {
		_, err := js.PublishAsync("out.x", payload)
		must(err)
	}
	<-js.PublishAsyncComplete()
	fmt.Println("done")
	select {}
}

func main() {
	connection, err := nats.Connect(os.Getenv("BENCH_URL"))
	must(err)
	js, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(4000))
	must(err)
	if mode := os.Getenv("BENCH_MODE"); mode == "publish" {
		publish(js)
	} else {
		consume(js, mode)
	}
}
