// The layers of a keyword spotter, the depthwise-separable network of MLPerf Tiny: 22,604 numbers.
// Source: Zhang, Suda, Lai and Chandra 2017, Hello Edge: Keyword Spotting on Microcontrollers.
#pragma once

#include <stdint.h>

typedef struct {
  const char *name;
  int64_t shape[4];
  uint8_t axes;
} layer;

#define SEPARABLE(n)                                    \
  {"block" n ".depthwise.weight", {64, 1, 3, 3}, 4},    \
      {"block" n ".depthwise.bias", {64}, 1},           \
      {"block" n ".pointwise.weight", {64, 64, 1, 1}, 4}, \
      {"block" n ".pointwise.bias", {64}, 1}

static const layer MODEL[] = {
    {"first.weight", {64, 1, 10, 4}, 4},
    {"first.bias", {64}, 1},
    SEPARABLE("1"),
    SEPARABLE("2"),
    SEPARABLE("3"),
    SEPARABLE("4"),
    {"last.weight", {12, 64}, 2},
    {"last.bias", {12}, 1},
};
