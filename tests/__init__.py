"""Tests: unit (no Ray, no models), integration (tiny models, real vLLM, Ray and MLflow), bench. Never shipped."""
