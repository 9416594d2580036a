"""The EMQX 5 facade: its paths, shapes and codes over this broker's own state. Facts: the EMQX CE 5.8 documents."""
