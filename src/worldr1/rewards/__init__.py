"""The reward: S_meta + S_recon + S_traj from a 3D reconstruction, R_gen from frames, and their sum."""
