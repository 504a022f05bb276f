// The page about the JSON interface, made from openapi.json and the server's own limits.
function element(tag, ...content) {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
}

function list(entries) {
  return entries.flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
}

function route(path, method, operation, shared) {
  const made = element("section", element("h2", `${method.toUpperCase()} ${path}`));
  made.append(element("p", `${operation.summary}. ${operation.description ?? ""}`));
  const parameters = (operation.parameters ?? []).map((each) => [
    `?${each.name}=`,
    `${each.description} Default: ${each.schema.default}.`,
  ]);
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    return [status, response.description ?? shared[response.$ref.split("/").at(-1)].description];
  });
  made.append(element("dl", ...list([...parameters, ...responses])));
  return made;
}

const [api, model] = await Promise.all(
  ["openapi.json", "model"].map(async (path) => (await fetch(path)).json()),
);
const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => [path, method, operation]),
);
const { example } = api.paths["/predict"].post.requestBody.content["application/json"];
document.getElementById("example").textContent =
  `curl -H 'Content-Type: application/json' ${location.origin}/predict \\\n` +
  `  -d '${JSON.stringify(example)}'`;
document
  .getElementById("routes")
  .append(...operations.map((each) => route(...each, api.components.responses)));
document
  .getElementById("limits")
  .append(...list(Object.entries(model.limits).map(([name, value]) => [name, String(value)])));
