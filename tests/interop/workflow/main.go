// Command workflow is a host of the plugin process that is the engine's own: it drives the package that the engine loads
// its plugins with. A module, step or trigger is known to the test by the name that it gave.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/GoCodeAlone/modular"
	"github.com/GoCodeAlone/workflow"
	"github.com/GoCodeAlone/workflow/config"
	"github.com/GoCodeAlone/workflow/module"
	"github.com/GoCodeAlone/workflow/plugin"
	"github.com/GoCodeAlone/workflow/plugin/external"
	"github.com/GoCodeAlone/workflow/plugins/pipelinesteps"

	"interop/internal/driver"
)

// host is a loaded plugin and what was made of it.
type host struct {
	logger  *slog.Logger
	engine  atomic.Pointer[workflow.StdEngine]
	manager *external.ExternalPluginManager
	adapter *external.ExternalPluginAdapter
	mu      sync.Mutex
	made    map[string]any
}

func main() {
	tell := driver.New()
	lines := tell.Lines("log")
	logger := log.New(lines, "", 0)
	h := &host{
		logger:  slog.New(slog.NewTextHandler(lines, nil)),
		manager: external.NewExternalPluginManager(os.Args[1], logger),
		made:    map[string]any{},
	}
	refuse := make(chan string, 1)
	h.manager.SetCallbackServer(external.NewCallbackServer(
		func(triggerType, action string, data map[string]any) error {
			tell.Event("TriggerWorkflow", driver.Fields{"trigger_type": triggerType, "action": action, "data": data})
			select {
			case text := <-refuse:
				return fmt.Errorf("%s", text)
			default:
			}
			if engine := h.engine.Load(); engine != nil {
				return engine.TriggerWorkflow(context.Background(), triggerType, action, data)
			}
			return nil
		}, nil, logger))
	err := tell.Run(map[string]driver.Command{
		"load":    h.load,
		"unload":  h.unload,
		"module":  h.module,
		"step":    h.step,
		"trigger": h.trigger,
		"life":    h.life,
		"execute": h.execute,
		"run":     h.run,
		"stop":    func(driver.Fields) (any, error) { return nil, h.engine.Load().Stop(context.Background()) },
		"refuse": func(with driver.Fields) (any, error) {
			refuse <- with["error"].(string)
			return nil, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func (h *host) load(with driver.Fields) (any, error) {
	found, err := h.manager.DiscoverPlugins()
	if err != nil {
		return nil, err
	}
	if h.adapter, err = h.manager.LoadPlugin(with["name"].(string)); err != nil {
		return nil, err
	}
	if err := h.adapter.ContractRegistryError(); err != nil {
		return nil, err
	}
	manifest := h.adapter.EngineManifest()
	contracts := []driver.Fields{}
	for _, each := range h.adapter.ContractRegistry().Contracts {
		contracts = append(contracts, driver.Fields{
			"type": each.ModuleType + each.StepType + each.TriggerType, "mode": each.Mode.String(),
			"config": each.ConfigMessage, "input": each.InputMessage, "output": each.OutputMessage,
		})
	}
	return driver.Fields{
		"found": found, "name": manifest.Name, "version": manifest.Version, "author": manifest.Author,
		"modules": manifest.ModuleTypes, "steps": manifest.StepTypes, "triggers": manifest.TriggerTypes,
		"contracts": contracts, "schemas": h.adapter.ModuleSchemas(),
	}, nil
}

func (h *host) unload(with driver.Fields) (any, error) {
	began := time.Now()
	err := h.manager.UnloadPlugin(with["name"].(string))
	return driver.Fields{"seconds": time.Since(began).Seconds()}, err
}

func (h *host) module(with driver.Fields) (any, error) {
	kind, name, config := read(with)
	factory, known := h.adapter.ModuleFactories()[kind]
	if !known {
		return nil, fmt.Errorf("the plugin has no module type %q", kind)
	}
	made := factory(name, config)
	h.keep(name, made)
	return nil, external.AsModuleError(made)
}

func (h *host) step(with driver.Fields) (any, error) {
	kind, name, config := read(with)
	factory, known := h.adapter.StepFactories()[kind]
	if !known {
		return nil, fmt.Errorf("the plugin has no step type %q", kind)
	}
	made, err := factory(name, config, nil)
	h.keep(name, made)
	return nil, err
}

func (h *host) trigger(with driver.Fields) (any, error) {
	kind, name, config := read(with)
	factory, known := h.adapter.TriggerFactories()[kind]
	if !known {
		return nil, fmt.Errorf("the plugin has no trigger type %q", kind)
	}
	made := factory().(module.Trigger)
	h.keep(name, made)
	return nil, made.Configure(nil, config)
}

// life takes what has this name through one stage of its life.
func (h *host) life(with driver.Fields) (any, error) {
	h.mu.Lock()
	made := h.made[with["name"].(string)]
	h.mu.Unlock()
	switch stage := with["stage"].(string); stage {
	case "init":
		return nil, made.(modular.Module).Init(nil)
	case "start":
		return nil, made.(modular.Startable).Start(context.Background())
	case "stop":
		return nil, made.(modular.Stoppable).Stop(context.Background())
	case "destroy":
		return nil, made.(interface{ Destroy() error }).Destroy()
	default:
		return nil, fmt.Errorf("no stage %q", stage)
	}
}

// execute runs the step of this name, with what a pipeline would hold when it comes to it.
func (h *host) execute(with driver.Fields) (any, error) {
	h.mu.Lock()
	made := h.made[with["name"].(string)]
	h.mu.Unlock()
	current, _ := with["current"].(driver.Fields)
	result, err := made.(module.PipelineStep).Execute(context.Background(), module.NewPipelineContext(current, nil))
	if err != nil {
		return nil, err
	}
	return result.Output, nil
}

// run starts a whole engine with the loaded plugin, as a configuration file says.
func (h *host) run(with driver.Fields) (any, error) {
	wanted, err := config.LoadFromFile(with["file"].(string))
	if err != nil {
		return nil, err
	}
	engine := workflow.NewStdEngine(modular.NewStdApplication(nil, h.logger), h.logger)
	for _, each := range []plugin.EnginePlugin{pipelinesteps.New(), h.adapter} {
		if err := engine.LoadPlugin(each); err != nil {
			return nil, err
		}
	}
	if err := engine.BuildFromConfig(wanted); err != nil {
		return nil, err
	}
	h.engine.Store(engine)
	return nil, engine.Start(context.Background())
}

func (h *host) keep(name string, made any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made[name] = made
}

func read(with driver.Fields) (kind, name string, config driver.Fields) {
	config, _ = with["config"].(driver.Fields)
	return with["type"].(string), with["name"].(string), config
}
