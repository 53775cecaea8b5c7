// What a front end does with the generated documents; compiling it proves the types.
import type { ResultOf, VariablesOf } from "@graphql-typed-document-node/core";
import { ConsoleAckAlertDocument, ConsoleAckAlertsDocument, ConsoleRunsDocument } from "./generated/graphql";
import { possibleTypes } from "./generated/possibleTypes";

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

export function refused(result: ResultOf<typeof ConsoleAckAlertsDocument>): string[] {
  const answer = result.ackAlerts;
  if (answer.__typename !== "ChangedAlerts") {
    // @ts-expect-error a code that the API does not know
    if (answer.code === "BROKEN") return [];
    return answer.code === "CONFLICT" ? [] : [answer.message];
  }
  return answer.results.flatMap((each) => (each.refusal ? [`${each.alertId}: ${each.refusal.code}`] : []));
}

export const refusals: readonly string[] = possibleTypes.Refusal;

// @ts-expect-error a status that the API does not know
export const wrong: VariablesOf<typeof ConsoleRunsDocument> = { filter: { status: ["BROKEN"] } };

export default variables;
