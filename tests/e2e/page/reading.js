// What the tests ask a page about: contrast (WCAG 2.2, 1.4.3), what runs out of the window, what has no name.
(() => {
  const parts = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, below) => top.rgb.map((n, at) => n * top.a + below[at] * (1 - top.a));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((n) => n / 255).map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    const root = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
    return layers.reverse().reduce((below, layer) => over(layer, below), root);
  };
  const contrast = (node) => {
    const below = ground(node), style = getComputedStyle(node);
    const ink = over(parts(node.namespaceURI.endsWith("svg") ? style.fill : style.color), below);
    const [light, dark] = [luminance(ink), luminance(below)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const is_shown = (node) => node.checkVisibility({ visibilityProperty: true }) &&
    node.getClientRects().length > 0 && !node.closest(".unseen, noscript, thead");
  const texts = () => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (walk.nextNode()) if (walk.currentNode.data.trim()) found.push(walk.currentNode.parentElement);
    return [...new Set(found)].filter((node) => !["SCRIPT", "STYLE"].includes(node.tagName));
  };

  window.reading = {
    texts: () => texts().filter(is_shown).length,
    faint: () => texts().filter(is_shown).map((node) => [contrast(node), node])
      .filter(([ratio]) => ratio < 4.5)
      .map(([ratio, node]) => `${ratio.toFixed(2)} ${node.tagName}.${node.className.baseVal ?? node.className}: ${node.textContent.slice(0, 40)}`),
    // Text that is cut off or runs out of the window.
    outside: () => texts().filter(is_shown).filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
      .map((node) => `${node.tagName}: ${node.textContent.slice(0, 40)}`),
    focusable: () => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
      .filter((node) => node.checkVisibility({ visibilityProperty: true })),
    name: (node) => `${node.tagName} ${node.id || node.getAttribute("aria-label") || node.textContent.trim().slice(0, 30)}`,
  };
})();
