// Asks a server that runs known documents alone, as clients that know nothing of that: prints each answer's data.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql as apolloGql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { cacheExchange, createClient, fetchExchange, gql as urqlGql } from '@urql/core';

const [address, key] = process.argv.slice(2);
const headers = { authorization: key };
const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const [runs, me] = read('runs.graphql').split(/(?=query Me)/);
const fragment = read('run.graphql');
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

function apollo(link) {
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  return async (text, variables) => (await client.query({ query: apolloGql(text), variables })).data;
}

const urql = createClient({
  url: address, exchanges: [cacheExchange, fetchExchange], fetchOptions: { headers }, preferGetMethod: false,
});
const ask = {
  apollo: apollo(new HttpLink({ uri: address, headers })),
  apolloByHash: apollo(ApolloLink.from([new PersistedQueryLink({ sha256 }), new HttpLink({ uri: address, headers })])),
  urql: async (text, variables) => {
    const answer = await urql.query(urqlGql(text), variables ?? {}).toPromise();
    if (answer.error) throw answer.error;
    return answer.data;
  },
};
for (const [name, query] of Object.entries(ask)) {
  const found = [await query(`${fragment}\n${runs}`, { first: 1 }), await query(me)];
  let refused = 'nothing';
  try { await query('query Other { viewer { role } }'); } catch (error) { refused = error.message; }
  console.log(JSON.stringify({ name, runs: found[0].runLogs.edges.length, viewer: found[1].viewer.name, refused }));
}
