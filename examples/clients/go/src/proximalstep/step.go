// Package proximalstep takes proximal steps of vectors of any size, each as one stream that is written and read at once.
package proximalstep

import (
	"context"
	"errors"
	"io"
	"math/rand"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	regularization "regularization/v1"
)

const (
	chunkBytes = 1 << 20
	attempts   = 5
	method     = "/regularization.v1.RegularizationService/ProximalStep"
)

// Both says that a method's two sides are streams; on the wire those of every method are.
var Both = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// Codec encodes messages of google.golang.org/protobuf, which gRPC of Debian 12 is too old to do by itself.
type Codec struct{}

// Marshal encodes a message.
func (Codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

// Unmarshal decodes a message.
func (Codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

// Name is the codec's name in the content type.
func (Codec) Name() string { return "proto" }

// Take steps from parameters, the elements' bytes, of which one has size. A stream that broke is sent anew, for a call
// is a function of its messages alone; the context's deadline is for all attempts. The error may be a *Refusal.
func Take(
	ctx context.Context, conn *grpc.ClientConn, header *regularization.ProximalStepHeader, size int, parameters []byte,
) ([]byte, *regularization.Summary, error) {
	for attempt := 1; ; attempt++ {
		result, summary, err := oneStream(ctx, conn, header, size, parameters)
		var refusal *Refusal
		if err == nil || !errors.As(err, &refusal) || !refusal.Broke() || attempt == attempts {
			return result, summary, err
		}
		time.Sleep(time.Duration(rand.Int63n(int64(100*time.Millisecond) << attempt)))
	}
}

func oneStream(
	ctx context.Context, conn *grpc.ClientConn, header *regularization.ProximalStepHeader, size int, parameters []byte,
) ([]byte, *regularization.Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, Both, method, grpc.ForceCodec(Codec{}))
	if err != nil {
		return nil, nil, NewRefusal(err)
	}
	// In a goroutine: whoever writes a long stream to its end before reading stands still.
	go write(stream, header, size, parameters)
	result := make([]byte, 0, len(parameters))
	var summary *regularization.Summary
	for {
		response := &regularization.ProximalStepResponse{}
		if err := stream.RecvMsg(response); err == io.EOF {
			break
		} else if err != nil {
			return nil, nil, NewRefusal(err)
		}
		if chunk := response.Chunk; chunk != nil {
			if int(chunk.ElementOffset)*size != len(result) {
				return nil, nil, errors.New("a result chunk is missing")
			}
			result = append(result, chunk.Values...)
		}
		if response.Summary != nil {
			summary = response.Summary
		}
	}
	if summary == nil || len(result) != len(parameters) {
		return nil, nil, &Refusal{Code: codes.Unavailable, Text: "the stream ended before its summary"}
	}
	return result, summary, nil
}

// write sends all messages. Where the stream ends before, its reader hears why.
func write(stream grpc.ClientStream, header *regularization.ProximalStepHeader, size int, parameters []byte) {
	if stream.SendMsg(&regularization.ProximalStepRequest{Header: header}) != nil {
		return
	}
	for begin := 0; begin < len(parameters); begin += chunkBytes {
		end := begin + chunkBytes
		if end > len(parameters) {
			end = len(parameters)
		}
		chunk := &regularization.TensorChunk{ElementOffset: int64(begin / size), Parameters: parameters[begin:end]}
		if stream.SendMsg(&regularization.ProximalStepRequest{Chunk: chunk}) != nil {
			return
		}
	}
	_ = stream.CloseSend()
}
