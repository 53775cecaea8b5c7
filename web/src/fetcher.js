// The page is served at the address of the API, so a request goes to the page's own path.
const ENDPOINT = window.location.pathname;
const ACCEPT = 'application/graphql-response+json, application/json;q=0.9';

async function post(params, headers, signal) {
  const response = await fetch(ENDPOINT, {
    method: 'POST',
    credentials: 'same-origin',
    headers: { Accept: ACCEPT, 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(params),
    signal,
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { errors: [{ message: `The server answered ${response.status} without JSON: ${text.slice(0, 200)}` }] };
  }
}

/** The server's message when it asks the caller to sign in, else null. */
function signInMessage(result) {
  const refusal = result.errors?.find((error) => error.extensions?.code === 'UNAUTHENTICATED');
  return refusal ? refusal.message : null;
}

/** A GraphiQL fetcher. The observable it returns aborts the request when the reader presses stop. */
export function createFetcher(onSignIn) {
  return (params, options = {}) => ({
    subscribe(observer) {
      const controller = new AbortController();
      post(params, options.headers, controller.signal)
        .then((result) => {
          onSignIn(signInMessage(result));
          observer.next(result);
          observer.complete();
        })
        .catch((error) => {
          if (error.name !== 'AbortError') observer.error({ message: `The server did not answer: ${error.message}` });
        });
      return { unsubscribe: () => controller.abort() };
    },
  });
}
