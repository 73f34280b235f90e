// Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"
	"time"

	statusproto "github.com/golang/protobuf/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"proximalstep"
	_ "regularization/v1"
	_ "training/v1"
)

type job struct {
	Method   string  `json:"method"`
	Deadline float64 `json:"deadline_seconds"`
	Bytes    int     `json:"request_bytes"`
}

type answer struct {
	Code    int    `json:"code"`
	Details []byte `json:"details"` // JSON has bytes in base64
	Message string `json:"message"`
	Bytes   int    `json:"response_bytes"`
}

func main() {
	conn, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		var asked job
		if err := json.Unmarshal(line, &asked); err != nil {
			log.Fatal(err)
		}
		framed := make([]byte, asked.Bytes)
		if _, err := io.ReadFull(input, framed); err != nil {
			log.Fatal(err)
		}
		responses, err := call(conn, asked, framed)
		ended := status.Convert(err)
		said := answer{Code: int(ended.Code()), Message: ended.Message(), Bytes: len(responses), Details: []byte{}}
		if len(ended.Proto().GetDetails()) > 0 {
			if said.Details, err = statusproto.Marshal(ended.Proto()); err != nil {
				log.Fatal(err)
			}
		}
		printed, err := json.Marshal(said)
		if err != nil {
			log.Fatal(err)
		}
		os.Stdout.Write(append(append(printed, '\n'), responses...))
	}
}

func call(conn *grpc.ClientConn, asked job, framed []byte) ([]byte, error) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(
		protoreflect.FullName(strings.ReplaceAll(asked.Method, "/", ".")))
	if err != nil {
		log.Fatal(err)
	}
	method := found.(protoreflect.MethodDescriptor)
	requests := []proto.Message{}
	for len(framed) > 0 {
		end := 5 + binary.BigEndian.Uint32(framed[1:])
		request := message(method.Input())
		if err := proto.Unmarshal(framed[5:end], request); err != nil {
			log.Fatal(err)
		}
		requests, framed = append(requests, request), framed[end:]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(asked.Deadline*float64(time.Second)))
	defer cancel()
	stream, err := conn.NewStream(ctx, proximalstep.Both, "/"+asked.Method, grpc.ForceCodec(proximalstep.Codec{}))
	if err != nil {
		return nil, err
	}
	go func() {
		for _, request := range requests {
			if stream.SendMsg(request) != nil {
				return // the reader hears why
			}
		}
		_ = stream.CloseSend()
	}()
	var responses bytes.Buffer
	for {
		response := message(method.Output())
		if err := stream.RecvMsg(response); err == io.EOF {
			return responses.Bytes(), nil
		} else if err != nil {
			return responses.Bytes(), err
		}
		encoded, err := proto.Marshal(response)
		if err != nil {
			log.Fatal(err)
		}
		var head [5]byte
		binary.BigEndian.PutUint32(head[1:], uint32(len(encoded)))
		responses.Write(head[:])
		responses.Write(encoded)
	}
}

func message(of protoreflect.MessageDescriptor) proto.Message {
	found, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
	if err != nil {
		log.Fatal(err)
	}
	return found.New().Interface()
}
