// Stands in for npm's aws-lambda-ric where that cannot be built: asks Lambda's Runtime API for an
// event, runs the handler, posts what it returns, for ever. Usage: node loop.mjs FOLDER/MODULE.NAME
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const [module, name] = process.argv[2].split(".");
const folder = process.env.LAMBDA_TASK_ROOT;
const handler = createRequire(path.join(folder, "/"))("./" + module)[name];

function call(method, what, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
    const where = `/2018-06-01/runtime/invocation/${what}`;
    const request = http.request({ host, port, agent, method, path: where, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve([response.headers, Buffer.concat(chunks).toString()]));
    });
    request.on("error", reject);
    request.end(body);
  });
}

for (;;) {
  const [headers, event] = await call("GET", "next");
  const id = headers["lambda-runtime-aws-request-id"];
  try {
    const result = await handler(JSON.parse(event), { awsRequestId: id });
    await call("POST", `${id}/response`, JSON.stringify(result));
  } catch (error) {
    await call("POST", `${id}/error`, JSON.stringify({ errorMessage: String(error) }));
  }
}
