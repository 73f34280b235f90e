// The L1 norm's proximal step of a file of float32:
//
//     node build/src/main.js TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]

import { readFileSync, writeFileSync } from "node:fs";
import { argv, exit } from "node:process";
import * as grpc from "@grpc/grpc-js";

import type { ProximalStepHeader } from "../generated/regularization/v1/ProximalStepHeader.js";
import { schema } from "./schema.js";
import { proximalStep, Refused } from "./step.js";

const FLOAT32 = 4;

async function main(target: string, input: string, output: string, strength: number, stepSize: number, seconds: number) {
  const parameters = readFileSync(input);
  const header: ProximalStepHeader = {
    layout: {
      dataType: "DATA_TYPE_FLOAT32",
      segments: [{ name: "weights", shape: [parameters.length / FLOAT32], regularizer: { l1Norm: { strength } } }],
    },
    stepSize,
  };
  const client = new schema.regularization.v1.RegularizationService(target, grpc.credentials.createInsecure());
  const result = Buffer.alloc(parameters.length);
  const begin = performance.now();
  const deadline = new Date(Date.now() + seconds * 1000);
  const summary = await proximalStep(client, { header, elementSize: FLOAT32, parameters, result, deadline });
  const speed = parameters.length / 2 ** 20 / ((performance.now() - begin) / 1000);
  client.close();
  writeFileSync(output, result);
  console.log(`penalty  ${summary.total?.penalty?.value}`);
  console.log(`nonzeros ${summary.total?.nonzeros} of ${summary.total?.elements}`);
  console.log(`speed    ${speed.toFixed(0)} MiB/s`);
}

const [target, input, output, strength, stepSize, seconds = "60"] = argv.slice(2);
try {
  await main(target, input, output, Number(strength), Number(stepSize), Number(seconds));
} catch (error) {
  console.error(error instanceof Refused ? error.message : error);
  exit(1);
}
