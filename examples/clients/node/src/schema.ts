// The schema, loaded where the program starts, and the details of errors.

import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";

import type { ProtoGrpcType as Details } from "../generated/error_details.js";
import type { BadRequest__Output } from "../generated/google/rpc/BadRequest.js";
import type { ErrorInfo__Output } from "../generated/google/rpc/ErrorInfo.js";
import type { Status__Output } from "../generated/google/rpc/Status.js";
import type { ProtoGrpcType as Service } from "../generated/regularization_service.js";
import type { ProtoGrpcType as Augmentation } from "../generated/augmentation.js";
import type { ProtoGrpcType as EarlyStopping } from "../generated/early_stopping.js";

const PROTOS = fileURLToPath(new URL("../../../../../protos", import.meta.url));
const FILES = [
  "regularization/v1/regularization_service.proto",
  "training/v1/augmentation.proto",
  "training/v1/early_stopping.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

/** Every definition of the schema. 64-bit integers are text, for a number of JavaScript has 53 bits of them. */
export const definitions = loadSync(FILES, {
  includeDirs: [PROTOS, `${PROTOS}/third_party`],
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

/** The schema's services, as classes of clients. */
export const schema = grpc.loadPackageDefinition(definitions) as unknown as Service & Augmentation & EarlyStopping & Details;

/** Why a call failed: the status, and what the service says of it to programs. */
export interface Refusal {
  code: string;
  text: string;
  /** A name of ErrorReason; absent where gRPC or a proxy spoke. */
  reason?: string;
  /** The fields of the request that are at fault, as paths from the message. */
  fields: string[];
}

/** The trailer in which a google.rpc.Status comes, serialized. */
export const DETAILS = "grpc-status-details-bin";

/** What an error of gRPC says. */
export function refusal(error: grpc.ServiceError): Refusal {
  const found: Refusal = { code: grpc.status[error.code], text: error.details, fields: [] };
  const [trailer] = error.metadata?.get(DETAILS) ?? [];
  if (trailer === undefined) return found;
  for (const detail of decode<Status__Output>("google.rpc.Status", trailer as Buffer).details) {
    const value = detail.value as Buffer;
    if (detail.type_url?.endsWith("/google.rpc.ErrorInfo")) {
      found.reason = decode<ErrorInfo__Output>("google.rpc.ErrorInfo", value).reason;
    } else if (detail.type_url?.endsWith("/google.rpc.BadRequest")) {
      const violations = decode<BadRequest__Output>("google.rpc.BadRequest", value).fieldViolations;
      found.fields = violations.map((violation) => violation.field);
    }
  }
  return found;
}

function decode<Message>(name: string, bytes: Buffer): Message {
  return (definitions[name] as MessageTypeDefinition<object, object>).deserialize(bytes) as Message;
}
