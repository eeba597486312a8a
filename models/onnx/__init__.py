"""The front door: ONNX, QONNX and quantised ONNX files become exact integer programs."""
