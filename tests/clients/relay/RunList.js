// A list as Relay's users write it: a fragment with a pagination of its own, and a mutation that updates the store.
export const RunListQuery = graphql`
  query RunListQuery($count: Int!, $cursor: String, $job: ID!) {
    viewer {
      name
      role
    }
    ...RunList_query @arguments(count: $count, cursor: $cursor)
    node(id: $job) {
      id
      ...RunListJob_job @alias
    }
  }
`;

export const RunListFragment = graphql`
  fragment RunList_query on Query
  @argumentDefinitions(count: { type: "Int", defaultValue: 20 }, cursor: { type: "String" })
  @refetchable(queryName: "RunListPaginationQuery") {
    runLogs(first: $count, after: $cursor) @connection(key: "RunList_runLogs") {
      edges {
        node {
          id
          appType
          status
          tokensUsed
          createdAt
        }
      }
    }
  }
`;

export const RunListJobFragment = graphql`
  fragment RunListJob_job on TriggerJob @refetchable(queryName: "RunListJobQuery") {
    status
    retryOf {
      id
    }
  }
`;

export const RunListRetryMutation = graphql`
  mutation RunListRetryMutation($input: RetryJobInput!) {
    retryJob(input: $input) {
      __typename
      ... on TriggerJob {
        id
        status
        attempt
      }
      ... on Refusal {
        code
        message
      }
    }
  }
`;
