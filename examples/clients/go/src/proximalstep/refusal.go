package proximalstep

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"google/rpc/errdetails"
)

// Names are the names of status codes, by their numbers.
var Names = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// Refusal says why a call failed: the status, and what the service says of it to programs.
type Refusal struct {
	Code codes.Code
	// Reason is a name of ErrorReason; empty where gRPC or a proxy spoke.
	Reason string
	// Fields of the request that are at fault, as paths from the message.
	Fields []string
	Text   string
}

// NewRefusal reads what an error of gRPC says, with its trailer grpc-status-details-bin.
func NewRefusal(err error) *Refusal {
	found := status.Convert(err)
	refusal := &Refusal{Code: found.Code(), Text: found.Message()}
	for _, detail := range found.Proto().GetDetails() {
		info, request := &errdetails.ErrorInfo{}, &errdetails.BadRequest{}
		switch {
		case strings.HasSuffix(detail.TypeUrl, "/google.rpc.ErrorInfo") && proto.Unmarshal(detail.Value, info) == nil:
			refusal.Reason = info.Reason
		case strings.HasSuffix(detail.TypeUrl, "/google.rpc.BadRequest") && proto.Unmarshal(detail.Value, request) == nil:
			for _, violation := range request.FieldViolations {
				refusal.Fields = append(refusal.Fields, violation.Field)
			}
		}
	}
	return refusal
}

// Error tells all of it in a line.
func (r *Refusal) Error() string {
	words := []string{Names[r.Code]}
	if r.Reason != "" {
		words = append(words, r.Reason)
	}
	return strings.Join(append(words, r.Fields...), " ") + ": " + r.Text
}

// Broke tells whether the stream broke, so that sending all of it again is right.
func (r *Refusal) Broke() bool {
	switch r.Code {
	case codes.Unavailable:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled:
		return r.Reason == ""
	}
	return false
}
