// Package driver lets a test drive a host: each line of JSON on stdin is a command, each line on stdout its answer or an
// event. Commands run beside each other, so that one that waits holds up no other.
package driver

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc/status"
)

// Fields are the fields of a JSON object.
type Fields = map[string]any

// Command is what one word on stdin does.
type Command func(with Fields) (any, error)

// Driver writes answers and events.
type Driver struct {
	mu  sync.Mutex
	out *json.Encoder
}

// New makes a driver that writes to stdout.
func New() *Driver {
	return &Driver{out: json.NewEncoder(os.Stdout)}
}

// Event tells the test what happened without being asked.
func (d *Driver) Event(name string, fields any) {
	d.write(Fields{"event": name, "fields": fields})
}

// Lines makes a writer that tells each line written to it as an event.
func (d *Driver) Lines(event string) io.Writer {
	reader, writer := io.Pipe()
	go func() {
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			d.Event(event, strings.TrimRight(lines.Text(), "\r"))
		}
	}()
	return writer
}

// Run obeys stdin until it ends, and waits for the commands that still run.
func (d *Driver) Run(commands map[string]Command) error {
	var running sync.WaitGroup
	defer running.Wait()
	for in := json.NewDecoder(os.Stdin); ; {
		var line struct {
			ID   int
			Do   string
			With Fields
		}
		if err := in.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		running.Go(func() {
			answer, err := commands[line.Do](line.With)
			if err == nil {
				d.write(Fields{"id": line.ID, "answer": answer})
				return
			}
			d.write(Fields{"id": line.ID, "error": err.Error(), "code": status.Code(err).String()})
		})
	}
}

func (d *Driver) write(line Fields) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Encode(line); err != nil {
		os.Exit(1)
	}
}
