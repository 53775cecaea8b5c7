// Writes typed documents for a front end into codegen/generated.
const scalars = {
  BigInt: "number",
  Decimal: "string",
  Date: "string",
  DateTime: "string",
  JSON: "unknown",
};

export default {
  schema: "schema.graphql",
  documents: ["codegen/*.graphql"],
  generates: {
    "codegen/generated/": {
      preset: "client",
      config: { scalars, strictScalars: true, useTypeImports: true, enumsAsTypes: true },
    },
  },
};
