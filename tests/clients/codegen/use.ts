// What a front end does with the generated documents; compiling it proves the types.
import type { ResultOf, VariablesOf } from "@graphql-typed-document-node/core";
import { ConsoleAckAlertDocument, ConsoleRunsDocument } from "./generated/graphql";

const variables: VariablesOf<typeof ConsoleRunsDocument> = {
  filter: { status: ["FAILED"], createdAt: { from: "2026-01-01T00:00:00Z" } },
  first: 20,
};

export function tokens(page: ResultOf<typeof ConsoleRunsDocument>): number {
  return page.runLogs.edges.reduce((sum, edge) => sum + edge.node.tokensUsed, 0);
}

export function outcome(result: ResultOf<typeof ConsoleAckAlertDocument>): string {
  const answer = result.ackAlert;
  return answer.__typename === "Alert" ? "done" : answer.message;
}

// @ts-expect-error a status that the API does not know
export const wrong: VariablesOf<typeof ConsoleRunsDocument> = { filter: { status: ["BROKEN"] } };

export default variables;
