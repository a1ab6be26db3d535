"""What a vision-language critic is asked about a render of a reconstructed scene from beside the camera's path.

Every sentence is here for a reason, which stands above it. The text is the same for every requested camera motion: it
praises none, and says that none counts, because S_traj alone pays for the path (the release asked for "perfect 360
orbital motion" and punished pans, zooms and stills, whatever was requested). The picture comes first, then this text,
as these models are trained.
"""

_PICTURE = (
    # It is a render: a photograph's standards (grain, exposure, sharp detail) do not apply.
    "The picture is a view of a 3D scene that was reconstructed from a video. "
    # From elsewhere: the question is what shows only from there, not whether the video was pretty.
    "It is seen from a place where the video's camera never was."
)
_SCENE = (
    # What was wanted, so that ruins, mist or abstract shapes are not taken for damage. Quoted, and followed by our own
    # sentences: an order inside a prompt is then part of a description.
    'The scene was meant to be: "{scene}"'
)
_QUESTION = (
    # One question. Beauty and faith to the text are R_gen's, which sees the video itself.
    "Judge one thing: is this a sound, solid 3D scene? "
    # By name, because "3D consistency" alone is answered as if it were image quality.
    "These faults count against it: "
    "floaters (specks, blobs or sheets that hang in empty space); "
    "ghosting (doubled or see-through copies of one surface); "
    "stretched or smeared texture; "
    "billboards (flat cut-outs that look right only from the video's own path); "
    "torn, bent or doubled walls, floors and objects. "
    # Unseen places are grey (`rewards.meta_view.UNSEEN_GREY`). How many there are depends on the camera's motion, so
    # counting them would pay for one motion more than for another.
    "Flat grey regions were never filmed: ignore them, however large they are. "
    # The critic must not prefer a motion, a framing or a style.
    "Ignore also how the camera moved or how far, the framing, the style, and what the description leaves out. "
)
_ANSWER = (
    # Anchors: an expected digit needs the digits to mean the same for every picture.
    "0 means that no solid scene can be made out, 3 that large parts are broken, 6 that the scene is sound with some "
    "visible faults, 9 that no fault is visible. "
    # Last, because the next token is all that is read.
    "Answer with one digit from 0 to 9 and nothing else."
)


def instruction(scene: str) -> str:
    """The question about one picture.

    scene: the prompt without its camera words (`camera.motion.scene_text`); empty: nothing is said about it. Line
    breaks, double quotes and the marks of a tokenizer's special tokens ("<|") lose their meaning.
    """
    plain = " ".join(scene.replace("<|", "< |").replace('"', "'").split())
    described = [_SCENE.format(scene=plain)] if plain else []
    return "\n".join([_PICTURE, *described, _QUESTION.strip(), _ANSWER])
