"use strict";

// No script stands in the page itself, so that its Content-Security-Policy can forbid all that do.
window.addEventListener("DOMContentLoaded", () => {
  SwaggerUIBundle({
    url: "/api-docs/swagger.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "none",
    // null: no badge from a validator on another host
    validatorUrl: null,
    queryConfigEnabled: false,
  });
});
