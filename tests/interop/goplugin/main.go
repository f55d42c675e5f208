// Command goplugin is a host of the plugin process, built on the go-plugin library. Of the engine's interface it knows
// protocol.proto, of the messages of the contracts nothing but what the contract registry's FileDescriptorSet says.
package main

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"interop/internal/driver"
)

var handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "WORKFLOW_PLUGIN",
	MagicCookieValue: "workflow-external-plugin-v1",
}

func main() {
	tell := driver.New()
	plugin := &enginePlugin{tell: tell, protocol: compile()}
	command := exec.Command(os.Args[1])
	command.Dir = filepath.Dir(os.Args[1])
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          goplugin.PluginSet{"plugin": plugin},
		Cmd:              command,
		Stderr:           tell.Lines("stderr"),
		SyncStdout:       tell.Lines("stdio_stdout"),
		SyncStderr:       tell.Lines("stdio_stderr"),
		Logger:           hclog.New(&hclog.LoggerOptions{Output: tell.Lines("log"), Level: hclog.Trace, DisableTime: true}),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
	})
	defer client.Kill()
	connection, err := client.Client()
	if err != nil {
		fail(client, err)
	}
	dispensed, err := connection.Dispense("plugin")
	if err != nil {
		fail(client, err)
	}
	service := dispensed.(*service)
	tell.Event("loaded", driver.Fields{
		"pid": client.ID(), "broker_id": service.brokerID,
		"protocol": client.Protocol(), "address": client.ReattachConfig().Addr.String(),
	})
	err = tell.Run(map[string]driver.Command{
		"call": service.call,
		"ping": func(driver.Fields) (any, error) { return nil, connection.Ping() },
		"refuse": func(with driver.Fields) (any, error) {
			plugin.refusal.Store(with["error"])
			return nil, nil
		},
		"kill": func(driver.Fields) (any, error) {
			began := time.Now()
			client.Kill()
			return driver.Fields{"seconds": time.Since(began).Seconds(), "exited": client.Exited()}, nil
		},
	})
	if err != nil {
		fail(client, err)
	}
}

func fail(client *goplugin.Client, err error) {
	client.Kill()
	log.Fatal(err)
}
