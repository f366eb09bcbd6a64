// A certified OpenID Connect provider with its own login and consent pages, whose
// access tokens for the API are JWTs: node provider.js AUDIENCE. It prints its issuer,
// reads its client's redirect URI from standard input, and says when it serves.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const [audience] = process.argv.slice(2);
const server = createServer();
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  console.log(issuer);
  const [redirectURI] = (await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value.split("\n");
  const provider = new Provider(issuer, {
    clients: [{
      client_id: "nanobanana",
      client_secret: "the secret of the client",
      redirect_uris: [redirectURI, "http://127.0.0.1:1/own"],
    }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    pkce: { required: () => true },
    findAccount: (_ctx, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: `${sub}@example.com`, email_verified: true, name: sub }),
    }),
    features: {
      resourceIndicators: {
        enabled: true,
        // Who asks for no API gets a token for the userinfo endpoint.
        defaultResource: () => undefined,
        getResourceServerInfo: () => ({
          scope: "generate",
          audience,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log("ready");
});
