/** What a first visit shows in the editor: the first query of the README. */
export const DEFAULT_QUERY = `{
  dashboard {
    today {
      calls
      successRate
      tokens
    }
  }
}
`;
