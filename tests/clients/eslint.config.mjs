// Lints schema.graphql with every schema rule and the Relay rules of graphql-eslint. What is left out says why.
import graphqlPlugin from "@graphql-eslint/eslint-plugin";

const all = graphqlPlugin.configs["flat/schema-all"].rules;
const relay = graphqlPlugin.configs["flat/schema-relay"].rules;

const exceptions = {
  // Fields stand in the order in which people read them: what it is, what it did, when.
  "@graphql-eslint/alphabetize": "off",
  // alertStatus is the store's word, on Alert as on RunLog.
  "@graphql-eslint/no-typename-prefix": "off",
  // The rule's preset forbids mutations, which this API is for.
  "@graphql-eslint/no-root-type": "off",
  // A root field that fails fails the operation: clients then need no null check on each of them.
  "@graphql-eslint/require-nullable-result-in-root": "off",
  // A day of a trend or a refusal has no identity; whatever has one implements Node.
  "@graphql-eslint/strict-id-in-types": "off",
  // Short lists of fixed length (seven days, ten alerts) are no connections.
  "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
};

// The preset asks for descriptions of types only.
const described = Object.fromEntries(
  ["types", "DirectiveDefinition", "FieldDefinition", "InputValueDefinition", "EnumValueDefinition"].map(
    (kind) => [kind, true],
  ),
);

export default [
  {
    files: ["schema.graphql"],
    languageOptions: {
      parser: graphqlPlugin.parser,
      parserOptions: { graphQLConfig: { schema: "schema.graphql" } },
    },
    plugins: { "@graphql-eslint": graphqlPlugin },
    rules: {
      ...all,
      ...relay,
      ...exceptions,
      "@graphql-eslint/require-description": ["error", described],
    },
  },
];
