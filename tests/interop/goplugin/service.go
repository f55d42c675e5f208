package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bufbuild/protocompile"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"interop/internal/driver"
)

const longestCall = 30 * time.Second

//go:embed protocol.proto
var protocol embed.FS

// compile reads protocol.proto.
func compile() protoreflect.FileDescriptor {
	own := &protocompile.SourceResolver{
		Accessor: func(path string) (io.ReadCloser, error) { return protocol.Open(path) },
	}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(own)}
	files, err := compiler.Compile(context.Background(), "protocol.proto")
	if err != nil {
		log.Fatal(err)
	}
	return files[0]
}

// enginePlugin is what the host dispenses, and the callback service that it offers.
type enginePlugin struct {
	goplugin.Plugin
	tell     *driver.Driver
	protocol protoreflect.FileDescriptor
	types    atomic.Pointer[dynamicpb.Types]
	refusal  atomic.Value
}

// service is the plugin process as the host sees it.
type service struct {
	*enginePlugin
	connection *grpc.ClientConn
	brokerID   uint32
}

// GRPCServer is of the other side.
func (p *enginePlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return fmt.Errorf("this program is a host")
}

// GRPCClient offers the callback service to the plugin process over the broker.
func (p *enginePlugin) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	id := broker.NextId()
	go broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		return grpc.NewServer(append(options, grpc.UnknownServiceHandler(p.calledBack))...)
	})
	return &service{p, connection, id}, nil
}

// calledBack answers any method of the callback service, and tells the test of it.
func (p *enginePlugin) calledBack(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	method, err := p.method(protoreflect.Name("EngineCallbackService"), path[strings.LastIndex(path, "/")+1:])
	if err != nil {
		return err
	}
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	fields, err := p.fields(request)
	if err != nil {
		return err
	}
	p.tell.Event(string(method.Name()), fields)
	if refusal, _ := p.refusal.Load().(string); refusal != "" && method.Name() == "TriggerWorkflow" {
		answer.Set(method.Output().Fields().ByName("error"), protoreflect.ValueOfString(refusal))
	}
	return stream.SendMsg(answer)
}

// call calls a method of the plugin process with the fields of its request, as protobuf's JSON has them.
func (s *service) call(with driver.Fields) (any, error) {
	method, err := s.method("PluginService", with["method"].(string))
	if err != nil {
		return nil, err
	}
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	text, err := json.Marshal(with["request"])
	if err != nil {
		return nil, err
	}
	if err := (protojson.UnmarshalOptions{Resolver: s.resolver()}).Unmarshal(text, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longestCall)
	defer cancel()
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	if err := s.connection.Invoke(ctx, path, request, answer); err != nil {
		return nil, err
	}
	if set := method.Output().Fields().ByName("file_descriptor_set"); set != nil {
		if err := s.learn(answer.Get(set).Message().Interface()); err != nil {
			return nil, err
		}
	}
	return s.fields(answer)
}

// learn makes the messages of a FileDescriptorSet known.
func (p *enginePlugin) learn(set proto.Message) error {
	data, err := proto.Marshal(set)
	if err != nil {
		return err
	}
	var described descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &described); err != nil {
		return err
	}
	files, err := protodesc.NewFiles(&described)
	if err != nil {
		return err
	}
	p.types.Store(dynamicpb.NewTypes(files))
	return nil
}

func (p *enginePlugin) method(service protoreflect.Name, name string) (protoreflect.MethodDescriptor, error) {
	method := p.protocol.Services().ByName(service).Methods().ByName(protoreflect.Name(name))
	if method == nil {
		return nil, fmt.Errorf("protocol.proto has no %s.%s", service, name)
	}
	return method, nil
}

func (p *enginePlugin) fields(message proto.Message) (any, error) {
	text, err := protojson.MarshalOptions{
		Resolver: p.resolver(), UseProtoNames: true, EmitDefaultValues: true,
	}.Marshal(message)
	return json.RawMessage(text), err
}

// resolver knows what was learnt, and nothing else.
func (p *enginePlugin) resolver() *dynamicpb.Types {
	if types := p.types.Load(); types != nil {
		return types
	}
	return dynamicpb.NewTypes(new(protoregistry.Files))
}
