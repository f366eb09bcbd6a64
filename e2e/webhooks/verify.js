// Verifies the deliveries of the file given with each library and each secret,
// and prints as one JSON document which secrets held, whose Ed25519 signature
// did, and what openai made of the events. The address of the API and a key come
// first: from there it has the default secret and the public keys.
import { createPublicKey, verify } from "node:crypto";
import { readFile } from "node:fs/promises";
import OpenAI, { InvalidWebhookSignatureError } from "openai";
import Replicate, { validateWebhook } from "replicate";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const [baseURL, apiKey, file] = process.argv.slice(2);
const { deliveries, secrets } = JSON.parse(await readFile(file, "utf8"));
const openai = new OpenAI({ apiKey });
const replicate = new Replicate({ auth: apiKey, baseUrl: baseURL });

// Whether a call returns. Only a refusal counts as none: any other error ends
// the program.
async function accepts(call, Refusal) {
  try {
    await call();
    return true;
  } catch (error) {
    if (error instanceof Refusal) {
      return false;
    }
    throw error;
  }
}

const libraries = {
  standardwebhooks: ({ body, headers }, secret) =>
    accepts(() => new Webhook(secret).verify(body, headers), WebhookVerificationError),
  openai: ({ body, headers }, secret) =>
    accepts(() => openai.webhooks.unwrap(body, headers, secret), InvalidWebhookSignatureError),
  replicate: ({ body, headers }, secret) => validateWebhook({ body, headers }, secret),
};

// The names of the secrets that each library verifies a delivery with.
async function verifying(delivery) {
  const held = {};
  for (const [library, holds] of Object.entries(libraries)) {
    held[library] = [];
    for (const [name, secret] of Object.entries(secrets)) {
      if (await holds(delivery, secret)) {
        held[library].push(name);
      }
    }
  }
  return held;
}

async function publicKeys() {
  const answer = await fetch(`${baseURL}/webhooks/jwks.json`);
  const { keys } = await answer.json();
  return keys.map((jwk) => createPublicKey({ key: jwk, format: "jwk" }));
}

// Whether a delivery has a v1a signature, and all it has are of a key.
function signedBy(keys, { body, headers }) {
  const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const signatures = headers["webhook-signature"].split(" ").filter((entry) => entry.startsWith("v1a,"));
  const holds = (entry) => keys.some((key) => verify(null, signed, key, Buffer.from(entry.slice("v1a,".length), "base64")));
  return signatures.length > 0 && signatures.every(holds);
}

// What openai's client tells of an event. The first secret that holds will do.
async function event({ body, headers }, [name]) {
  if (name === undefined) {
    return null;
  }
  const { id, object, type, data } = await openai.webhooks.unwrap(body, headers, secrets[name]);
  return { id, object, type, generation: data.id, status: data.status, prompt: data.prompt };
}

const keys = await publicKeys();
const report = { defaultSecret: (await replicate.webhooks.default.secret.get()).key, deliveries: {} };
for (const [name, delivery] of Object.entries(deliveries)) {
  const held = await verifying(delivery);
  report.deliveries[name] = { held, ed25519: signedBy(keys, delivery), event: await event(delivery, held.openai) };
}
console.log(JSON.stringify(report));
