// The editor and the dialogs write <style> elements at run time. The policy admits only those that carry
// the nonce of this page, so a <style> that arrives as markup (in a description, say) stays without effect.
const { nonce } = document.querySelector('meta[property="csp-nonce"]');
const createElement = Document.prototype.createElement;

Document.prototype.createElement = function (name, options) {
  const element = createElement.call(this, name, options);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
};
