"""Control traffic through one object of a Kubernetes cluster: an HTTPRoute, or an InferenceService of KServe."""
