// Calls generateContent of the API at the URL given, once for each case, and
// prints what the client made of the answers as one JSON document. The image of
// the first case goes to the file given.
import { writeFile } from "node:fs/promises";
import { ApiError, GoogleGenAI } from "@google/genai";

const [baseUrl, imageFile] = process.argv.slice(2);
const client = new GoogleGenAI({ apiKey: "test-key", httpOptions: { baseUrl } });

function generate(prompt) {
  return client.models.generateContent({
    model: "gemini-3-pro-image",
    contents: prompt,
    config: {
      responseModalities: ["IMAGE"],
      imageConfig: { aspectRatio: "1:1", imageSize: "1K" },
    },
  });
}

const images = (response) =>
  (response.candidates ?? [])
    .flatMap((candidate) => candidate.content?.parts ?? [])
    .filter((part) => part.inlineData);

async function image() {
  const response = await generate("a ripe banana on a blue table");
  const [part] = images(response);
  await writeFile(imageFile, Buffer.from(part.inlineData.data, "base64"));
  return {
    mimeType: part.inlineData.mimeType,
    finishReason: response.candidates[0].finishReason,
    images: images(response).length,
    imageTokens: response.usageMetadata.candidatesTokenCount,
  };
}

async function rateLimit() {
  try {
    await generate("a banana [[sim:429 retry=34.4s]]");
  } catch (error) {
    const details = JSON.parse(error.message).error.details;
    const retryInfo = details.find((detail) => detail["@type"].endsWith("google.rpc.RetryInfo"));
    return {
      isApiError: error instanceof ApiError,
      status: error.status,
      retryDelay: retryInfo.retryDelay,
    };
  }
  return {};
}

async function safety() {
  const response = await generate("a banana [[sim:safety]]");
  return { finishReason: response.candidates[0].finishReason, images: images(response).length };
}

async function block() {
  const response = await generate("a banana [[sim:block]]");
  return { blockReason: response.promptFeedback.blockReason, images: images(response).length };
}

console.log(
  JSON.stringify({
    image: await image(),
    rateLimit: await rateLimit(),
    safety: await safety(),
    block: await block(),
  }),
);
