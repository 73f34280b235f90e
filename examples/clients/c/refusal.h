// What the service says to programs of a call that failed.
#pragma once

#include <stdbool.h>

#include "rpc.h"

typedef struct {
  char reason[64];   // A name of ErrorReason; empty where gRPC or a proxy spoke.
  char fields[512];  // Of the request, at fault, as paths from the message, with a space before each; cut off.
} refusal;

refusal refusal_of(const rpc_status *status);

// Whether the stream broke, so that sending all of it again is right.
bool refusal_broke(const rpc_status *status);

// Tells all of it in a line on standard error; gives a program's exit code.
int refusal_told(const rpc_status *status);

// The name of a code, for instance "UNAVAILABLE".
const char *rpc_name(int code);
