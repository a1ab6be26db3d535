"""ComfyUI loads this folder from its `custom_nodes`; see README.md beside it."""

from .camera_noise import WorldR1CameraNoise

NODE_CLASS_MAPPINGS = {"WorldR1CameraNoise": WorldR1CameraNoise}
NODE_DISPLAY_NAME_MAPPINGS = {"WorldR1CameraNoise": "Camera Noise (World-R1)"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
