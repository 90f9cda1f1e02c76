// What modules ask of the page when they are loaded: Node has no document.
Object.assign(globalThis, { document: { baseURI: "https://site.test/" } });
