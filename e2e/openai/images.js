// Calls the Images API at the URL given, once for each case, and prints what the
// client made of the answers as one JSON document. The images of the first two
// cases go into the directory given.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";

const [baseURL, directory] = process.argv.slice(2);
const connect = (apiKey) => new OpenAI({ apiKey, baseURL, maxRetries: 0 });
const client = connect("test-key");
const model = "gpt-image-2.5-flare";

const save = (name, b64) => writeFile(join(directory, name), Buffer.from(b64, "base64"));

async function generate() {
  const answer = await client.images.generate({
    model,
    prompt: "a ripe banana on a blue table",
    size: "1536x864",
    quality: "low",
    output_format: "webp",
  });
  await save("generated", answer.data[0].b64_json);
  return {
    size: answer.size,
    quality: answer.quality,
    format: answer.output_format,
    images: answer.data.length,
    outputTokens: answer.usage.output_tokens,
    hasRequestId: answer._request_id.startsWith("req_"),
  };
}

async function edit() {
  const read = async (name) => toFile(await readFile(join(directory, name)), name, { type: "image/png" });
  const answer = await client.images.edit({
    model,
    prompt: "a hat",
    size: "1024x1024",
    image: [await read("reference.png")],
    mask: await read("mask.png"),
  });
  await save("edited", answer.data[0].b64_json);
  return { size: answer.size, format: answer.output_format, imageTokens: answer.usage.input_tokens_details.image_tokens };
}

async function stream() {
  const events = [];
  const answer = await client.images.generate({ model, prompt: "a banana", stream: true, partial_images: 2 });
  for await (const event of answer) {
    events.push(event.type);
  }
  return events;
}

// The client's class of error, status and code of each fault.
async function errors() {
  const seen = {};
  const cases = ["429 retry=7s", "day", "500", "503", "block", "gone", "key", "reset"];
  for (const fault of cases) {
    try {
      await client.images.generate({ model, prompt: `a banana [[sim:${fault}]]` });
    } catch (error) {
      seen[fault] = `${error.constructor.name} ${error.status ?? ""} ${error.code ?? ""}`.trim();
    }
  }
  try {
    await connect("bad-key").images.generate({ model, prompt: "a banana" });
  } catch (error) {
    seen["bad key"] = `${error.constructor.name} ${error.status}`;
  }
  try {
    await client.images.generate({ model, prompt: "a banana", response_format: "url" });
  } catch (error) {
    seen["unknown"] = `${error.constructor.name} ${error.message}`;
  }
  return seen;
}

async function models() {
  const shutdown = {};
  for await (const listed of client.models.list()) {
    shutdown[listed.id] = listed.shutdown_date;
  }
  return shutdown[model] === null && Object.keys(shutdown).length;
}

console.log(
  JSON.stringify({
    generated: await generate(),
    edited: await edit(),
    stream: await stream(),
    errors: await errors(),
    listsModels: (await models()) >= 8,
  }),
);
