"""Gating: budgets as they are written, judged on measurements, and figures beside those of earlier builds. All pure."""
