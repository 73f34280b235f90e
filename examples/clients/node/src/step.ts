// A proximal step of a vector of any size, as one stream that is written and read at once.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import * as grpc from "@grpc/grpc-js";

import type { ProximalStepHeader } from "../generated/regularization/v1/ProximalStepHeader.js";
import type { ProximalStepRequest } from "../generated/regularization/v1/ProximalStepRequest.js";
import type { RegularizationServiceClient } from "../generated/regularization/v1/RegularizationService.js";
import type { Summary__Output } from "../generated/regularization/v1/Summary.js";
import { refusal, type Refusal } from "./schema.js";

const CHUNK_BYTES = 1 << 20;
const ATTEMPTS = 5;
const BREAKS = ["INTERNAL", "UNKNOWN", "CANCELLED"];

/** A call that the service, gRPC or a proxy refused. */
export class Refused extends Error {
  constructor(readonly refusal: Refusal) {
    super([refusal.code, refusal.reason, ...refusal.fields].filter(Boolean).join(" ") + `: ${refusal.text}`);
  }

  /** Whether the stream broke, so that sending all of it again is right. */
  get broke(): boolean {
    const { code, reason } = this.refusal;
    return code === "UNAVAILABLE" || (reason === undefined && BREAKS.includes(code));
  }
}

/** A step to take. */
export interface Step {
  header: ProximalStepHeader;
  /** Bytes of an element. */
  elementSize: number;
  /** The elements, as the layout's data type has them. */
  parameters: Buffer;
  /** Where the new ones go; as long as the parameters. */
  result: Buffer;
  /** When all attempts together must be over. */
  deadline: Date;
}

/** Takes a step. A stream that broke is sent anew, for a call is a function of its messages alone. */
export async function proximalStep(client: RegularizationServiceClient, step: Step): Promise<Summary__Output> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await oneStream(client, step);
    } catch (error) {
      if (!(error instanceof Refused) || !error.broke || attempt === ATTEMPTS) throw error;
      await sleep(Math.random() * 100 * 2 ** attempt);
    }
  }
}

async function oneStream(client: RegularizationServiceClient, step: Step): Promise<Summary__Output> {
  const call = client.proximalStep({ deadline: step.deadline });
  // Nobody waits for the writing: whoever writes a long stream to its end before reading stands still.
  void write(call, requests(step));
  let summary: Summary__Output | null = null;
  let filled = 0;
  try {
    for await (const { chunk, summary: last } of call) {
      if (chunk) {
        const next = Number(chunk.elementOffset) * step.elementSize === filled;
        // Buffers copy what they have room for, and say nothing of the rest.
        if (!next || chunk.values.length > step.result.length - filled) {
          throw new Error("a result chunk is not the next one");
        }
        filled += chunk.values.copy(step.result, filled);
      }
      summary = last ?? summary;
    }
  } catch (error) {
    throw error instanceof Error && "metadata" in error ? new Refused(refusal(error as grpc.ServiceError)) : error;
  }
  if (summary === null || filled !== step.result.length) {
    throw new Refused({ code: "UNAVAILABLE", text: "the stream ended before its summary", fields: [] });
  }
  return summary;
}

/** Writes messages as fast as they are taken. Where the call ends before, its reader hears why. */
export async function write<Message>(call: grpc.ClientWritableStream<Message>, messages: Iterable<Message>) {
  try {
    for (const message of messages) if (!call.write(message)) await once(call, "drain");
    call.end();
  } catch {
    return;
  }
}

function* requests({ header, elementSize, parameters }: Step): Generator<ProximalStepRequest> {
  yield { header };
  for (let begin = 0; begin < parameters.length; begin += CHUNK_BYTES) {
    const chunk = parameters.subarray(begin, begin + CHUNK_BYTES);
    yield { chunk: { elementOffset: begin / elementSize, parameters: chunk } };
  }
}
