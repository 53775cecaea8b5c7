// Runs every audit of npm graphql-http against the server at the given address; prints them as JSON.
// usage: node audit.mjs URL MODULES [AUTHORIZATION], where MODULES is the folder that holds node_modules
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [url, modules, authorization] = process.argv.slice(2);
const fetchFn = (address, options = {}) =>
  fetch(address, { ...options, headers: { ...options.headers, ...(authorization ? { authorization } : {}) } });
const require = createRequire(pathToFileURL(path.join(modules, "package.json")));
const { serverAudits } = require("graphql-http");
const results = [];
for (const audit of serverAudits({ url, fetchFn })) {
  const { status, reason } = await audit.fn();
  results.push({ id: audit.id, name: audit.name, status, reason: reason ?? null });
}
console.log(JSON.stringify(results));
