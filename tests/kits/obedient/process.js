// An obedient agent as a process in JavaScript: the same protocol, another language.
"use strict";
const lines = require("node:readline").createInterface({ input: process.stdin });
const input = lines[Symbol.asyncIterator]();
const send = (message) => process.stdout.write(JSON.stringify(message) + "\n");

(async () => {
  for (;;) {
    const next = await input.next();
    if (next.done) return;
    const task = JSON.parse(next.value);
    const wanted = JSON.parse(task.prompt);
    const came = [];
    for (const [number, step] of wanted.steps.entries()) {
      if (step.type === "seen") {
        const { turn, messages, metadata } = task;
        const documents = task.documents.map((each) => `${each.id}: ${each.text}`);
        const tools = task.tools.map((tool) => tool.name);
        came.push(["done", { turn, messages, documents, tools, case: task.case, metadata }, ""]);
        continue;
      }
      send({ id: number, ...step });
      if (step.type !== "reasoning") {
        const result = JSON.parse((await input.next()).value);
        came.push([result.status, result.output, result.error]);
      }
    }
    send({ type: "answer", text: "answer" in wanted ? wanted.answer : JSON.stringify(came) });
  }
})();
