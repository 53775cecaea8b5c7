import './nonce.js';
import './workers.js';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './page.css';
import { explorerPlugin } from '@graphiql/plugin-explorer';
import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import { GraphiQL } from 'graphiql';
import { useMemo, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createFetcher } from './fetcher.js';
import { DEFAULT_QUERY } from './query.js';

const PLUGINS = [explorerPlugin(), HISTORY_PLUGIN];

function Page() {
  const [signIn, setSignIn] = useState(null);
  const fetcher = useMemo(() => createFetcher(setSignIn), []);
  return (
    <>
      {signIn && <p className="sign-in" role="alert">{signIn}</p>}
      <main>
        {/* A header may hold a key: it is never kept in the browser's storage. */}
        <GraphiQL
          fetcher={fetcher}
          plugins={PLUGINS}
          defaultQuery={DEFAULT_QUERY}
          defaultEditorToolsVisibility={false}
          shouldPersistHeaders={false}
        >
          <GraphiQL.Logo>Runglass</GraphiQL.Logo>
        </GraphiQL>
      </main>
    </>
  );
}

createRoot(document.getElementById('explorer')).render(<Page />);
