import { defineConfig } from "vite";

export default defineConfig({
  // The page may lie behind a proxy's prefix.
  base: "./",
  build: {
    outDir: "../src/meshwright/service/web",
    emptyOutDir: true,
    target: "es2022",
    // Everything is a file of its own: the page's policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
  },
});
