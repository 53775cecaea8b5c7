import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { defineConfig } from 'vite';

const NOTHING = '\0nothing';
const DATA_FONT = /url\((["']?)data:font\/(\w+);base64,([^"')]+)\1\)/g;

/** GraphiQL's style sheet carries its fonts as data: addresses; the policy is font-src 'self', so they become files. */
function fontsAsFiles() {
  const write = (context) => (_match, _quote, type, base64) => {
    const source = Buffer.from(base64, 'base64');
    const name = `font-${createHash('sha256').update(source).digest('hex').slice(0, 8)}.${type}`;
    context.emitFile({ type: 'asset', fileName: `assets/${name}`, source });
    return `url(/graphql/assets/${name})`;
  };
  return {
    name: 'fonts-as-files',
    // Style sheets lie beside the fonts.
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.fileName.endsWith('.css')) file.source = String(file.source).replaceAll('url(/graphql/assets/', 'url(');
      }
    },
    enforce: 'pre',
    transform(code, id) {
      return id.includes('graphiql/dist/style.css') ? { code: code.replace(DATA_FONT, write(this)), map: null } : null;
    },
  };
}

/** graphiql/style.css already holds the editor's styles: the same ones imported file by file would come twice. */
function editorStylesOnce() {
  return {
    name: 'editor-styles-once',
    enforce: 'pre',
    resolveId: (source, importer) =>
      source.endsWith('.css') && importer?.includes('/monaco-editor/esm/') ? NOTHING : null,
    load: (id) => (id === NOTHING ? 'export {}' : null),
  };
}

/** Beside each text file its gzip form: the server sends files as they are, it never compresses. */
function packedBeside() {
  return {
    name: 'packed-beside',
    async writeBundle({ dir }, bundle) {
      const names = Object.keys(bundle).filter((name) => /\.(js|css|svg)$/.test(name));
      for (const name of names) {
        const path = join(dir, name);
        await writeFile(`${path}.gz`, gzipSync(await readFile(path), { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  // Relative, so that the page works under any path; the server writes its own into index.html.
  base: './',
  plugins: [fontsAsFiles(), editorStylesOnce(), packedBeside()],
  oxc: { jsx: { runtime: 'automatic' } },
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 5000,
    reportCompressedSize: false,
  },
});
