"""An obedient agent as a process: reads tasks and results from standard input, writes requests to standard output."""

import json
import sys


def send(message: dict) -> None:
    print(json.dumps(message), flush=True)


for line in sys.stdin:
    task = json.loads(line)
    wanted = json.loads(task["prompt"])
    came = []
    for number, step in enumerate(wanted["steps"]):
        if step["type"] == "seen":
            seen = {key: task[key] for key in ("turn", "messages", "case", "metadata")}
            seen["documents"] = [f"{each['id']}: {each['text']}" for each in task["documents"]]
            seen["tools"] = [tool["name"] for tool in task["tools"]]
            came.append(["done", seen, ""])
            continue
        send({"id": number, **step})
        if step["type"] != "reasoning":
            result = json.loads(sys.stdin.readline())
            assert (result["type"], result["id"]) == ("result", number), result
            came.append([result["status"], result["output"], result["error"]])
    send({"type": "answer", "text": wanted["answer"] if "answer" in wanted else json.dumps(came)})
