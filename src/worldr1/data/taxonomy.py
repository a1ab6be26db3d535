"""What the world prompts are about: domains, sub-domains, and the attributes that a scene is planned from.

The five domains are the paper's (arXiv 2604.24764, section 4); sub-domains, attributes and all text are our own.
"""

from dataclasses import dataclass

DAYLIGHT = (
    "flat overcast light", "hard noon sun", "low morning sun from the left", "late sun from behind", "blue hour",
    "first light", "moonlight", "light through thin fog", "sun after rain", "broken cloud shadows",
    "dusk with one lamp", "bright haze", "night with distant lights", "sun near the horizon, long shadows",
)  # fmt: skip
LAMPLIGHT = (
    "one window on the side", "bare bulb overhead", "skylight", "neon tubes", "candle or lantern",
    "daylight through blinds", "stage spotlight", "fluorescent strips", "screen glow", "fire in a hearth",
    "soft box from above", "lamp just out of view", "daylight through coloured glass", "back-lit by a doorway",
)  # fmt: skip
WEATHER = (
    "dry and still", "just rained", "light snow on the ground", "frost", "drifting mist", "heat shimmer",
    "dust in the air", "high wind earlier", "deep snow", "humid", "cold and clear", "storm far off", "thaw, puddles",
    "autumn leaves down",
)  # fmt: skip
INDOORS = ("indoors",)
EARTH = (
    "granite", "limestone", "sand", "clay", "basalt", "slate", "ice", "salt", "moss", "grass", "gravel", "bark",
    "reeds", "chalk",
)  # fmt: skip
BUILT = (
    "brick", "raw concrete", "corrugated iron", "oak boards", "glazed tile", "cobbles", "copper", "plaster",
    "steel lattice", "glass", "terracotta", "asphalt", "painted wood", "marble",
)  # fmt: skip
SMALL = (
    "glass", "brushed brass", "linen", "wet paper", "porcelain", "wax", "walnut", "rusted steel", "leather", "rice",
    "feather", "wool", "quartz", "lacquer",
)  # fmt: skip
IMAGINED = (
    "bone", "obsidian", "coral", "living wood", "mirror", "cloud", "crystal", "old bronze", "paper",
    "bioluminescent moss", "bleached stone", "silk", "liquid metal", "ceramic",
)  # fmt: skip
MEDIA = (
    "oil paint", "watercolour", "ink wash", "woodcut", "paper cut-outs", "felt", "clay figures", "stained glass",
    "mosaic", "pastel chalk", "embroidery", "low-relief bronze", "screen print", "gouache",
)  # fmt: skip
SCALES = (
    "within arm's reach", "a corner of a room or clearing", "a small yard or hall", "a street or hillside",
    "a whole valley or quarter", "a vast panorama",
)  # fmt: skip
SMALL_SCALES = ("a few millimetres", "a fingertip", "a palm", "a plate", "a table top", "a shelf or bench")
MOODS = (
    "calm", "abandoned", "festive but empty", "austere", "cluttered", "homely", "solemn", "playful", "uneasy",
    "industrious", "worn", "pristine", "lonely", "generous",
)  # fmt: skip
FORMS = (
    "noun phrase", "one full sentence, verb in the present", "begins with the place", "begins with a preposition",
    "begins with the light or the weather", "two short sentences", "begins with a plural",
    "begins with a number or quantity", "names what stands in front first, then what lies behind",
    "begins with a participle",
)  # fmt: skip
"""How the sentence is built, so that no form rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subdomain:
    """A third of a domain."""

    about: str
    """What belongs there, for whoever writes."""
    light: tuple[str, ...] = DAYLIGHT
    weather: tuple[str, ...] = WEATHER
    material: tuple[str, ...] = EARTH
    scale: tuple[str, ...] = SCALES


DOMAINS: dict[str, dict[str, Subdomain]] = {
    "natural": {
        "landforms": Subdomain(about="mountains, canyons, dunes, caves, cliffs, plains, volcanoes, forests as terrain"),
        "water": Subdomain(about="rivers, lakes, coasts, marshes, springs, glaciers, reefs, flooded woods"),
        "weather_and_time": Subdomain(about="one place under one weather, season or hour that makes the picture"),
    },
    "urban": {
        "streets": Subdomain(about="streets, squares, courtyards, markets, facades, roofs, parks", material=BUILT),
        "interiors": Subdomain(
            about="rooms of all kinds: kitchens, halls, workshops, libraries, stations, theatres, flats",
            light=LAMPLIGHT,
            weather=INDOORS,
            material=BUILT,
        ),
        "infrastructure": Subdomain(
            about="bridges, docks, railways, dams, tunnels, power plants, canals, masts, locks, depots", material=BUILT
        ),
    },
    "micro": {
        "tabletop": Subdomain(
            about="things on tables, desks, shelves and benches: food, tools, instruments, toys, papers",
            light=LAMPLIGHT,
            weather=INDOORS,
            material=SMALL,
            scale=SMALL_SCALES,
        ),
        "macro": Subdomain(
            about="the very small seen close: insects at rest, seeds, drops, circuits, crystals, fungi, skin of fruit",
            light=LAMPLIGHT + DAYLIGHT[:4],
            weather=("indoors", "just rained", "frost", "dry and still"),
            material=SMALL,
            scale=SMALL_SCALES,
        ),
        "materials": Subdomain(
            about="a material and what was made of it: surface, wear, joints, folds, cracks, layers, stacks",
            light=LAMPLIGHT,
            weather=INDOORS,
            material=SMALL + BUILT,
            scale=SMALL_SCALES,
        ),
    },
    "fantasy": {
        "realms": Subdomain(about="cities, ruins, forests and halls of invented worlds", material=IMAGINED),
        "surreal": Subdomain(
            about="ordinary things in impossible places, sizes or numbers, told with a straight face", material=IMAGINED
        ),
        "machines": Subdomain(
            about="science fiction: ships, stations, colonies, robots at rest, alien sites", material=IMAGINED
        ),
    },
    "artistic": {
        "painted": Subdomain(about="scenes as a painting, drawing or print in a named technique", material=MEDIA),
        "crafted": Subdomain(
            about="scenes built of paper, felt, clay, wood, glass, thread: dioramas, puppets, models, reliefs",
            light=LAMPLIGHT,
            weather=INDOORS,
            material=MEDIA + SMALL,
            scale=SMALL_SCALES,
        ),
        "graphic": Subdomain(
            about="posters, comics, pixel art, blueprints, maps, isometric worlds, film looks, one colour, two colours",
            material=MEDIA,
        ),
    },
}
"""Domain -> sub-domain -> what it is about and what its scenes are planned from."""

DYNAMIC_TAGS: dict[str, str] = {
    "water": "water that moves: surf, falls, rain on glass, fountains, pouring, wakes, spray",
    "fire_and_smoke": "flames, sparks, smoke, steam, embers, fireworks, lava, incense",
    "crowds": "many people or vehicles: markets, parades, stations, stadiums, dances, traffic",
    "transforming_objects": "things that change: melting, folding, blooming, rising, breaking, growing, unravelling",
    "animals": "animals that run, fly, swim, feed, fight, play, gather",
    "machines": "machines at work: presses, looms, cranes, trains, clocks, robots, mills, rides",
}
"""Of the dynamic set -> what belongs there."""
