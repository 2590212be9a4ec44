"""The data path of services: routes in, requests through, reports out. Knows only `kumoi.model`."""
