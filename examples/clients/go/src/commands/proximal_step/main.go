// The L1 norm's proximal step of a file of float32:
//
//	proximal_step TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"proximalstep"
	regularization "regularization/v1"
)

const float32Size = 4

func main() {
	if len(os.Args) < 6 {
		fmt.Fprintf(os.Stderr, "usage: %s TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(target, input, output string, texts []string) error {
	numbers := []float64{0, 0, 60}
	for i, text := range texts {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		numbers[i] = number
	}
	parameters, err := os.ReadFile(input)
	if err != nil {
		return err
	}
	l1Norm := &regularization.Regularizer_L1Norm{L1Norm: &regularization.L1Norm{Strength: &numbers[0]}}
	header := &regularization.ProximalStepHeader{
		Layout: &regularization.ParameterLayout{
			DataType: regularization.DataType_DATA_TYPE_FLOAT32,
			Segments: []*regularization.Segment{{
				Name:        "weights",
				Shape:       []int64{int64(len(parameters) / float32Size)},
				Regularizer: &regularization.Regularizer{Kind: l1Norm},
			}},
		},
		StepSize: proto.Float64(numbers[1]),
	}
	conn, err := grpc.Dial(target, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer conn.Close()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(numbers[2]*float64(time.Second)))
	defer cancel()
	result, summary, err := proximalstep.Take(ctx, conn, header, float32Size, parameters)
	if err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	fmt.Printf("penalty  %v\n", summary.Total.Penalty.Value)
	fmt.Printf("nonzeros %d of %d\n", summary.Total.GetNonzeros(), summary.Total.Elements)
	fmt.Printf("speed    %.0f MiB/s\n", float64(len(parameters))/(1<<20)/took)
	return os.WriteFile(output, result, 0o666)
}
