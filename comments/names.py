"""Names given to viewers who have not chosen one."""

import secrets

ADJECTIVES = (
    "Amber Brisk Calm Copper Dapper Early Fern Gentle Golden Happy Hazel Indigo Ivory Jade Keen "
    "Lively Lucky Mellow Misty Nimble Olive Patient Pearl Plucky Quiet Rapid Rosy Ruby Sandy "
    "Silver Slate Sunny Swift Teal Tidy Velvet Vivid Warm Wild Witty"
).split()
ANIMALS = (
    "Badger Bee Bittern Crane Curlew Deer Dolphin Egret Falcon Finch Fox Gecko Hare Heron Ibis "
    "Jackdaw Kestrel Kingfisher Lark Lemur Lynx Magpie Marten Moth Newt Otter Owl Panda Pelican "
    "Plover Puffin Quail Raven Robin Seal Sparrow Stork Swan Tern Turtle Vole Wagtail Wren"
).split()


def random_name() -> str:
    """Two words, as in Brisk Otter. Not unique: the handle and the colour tell namesakes apart."""
    return f"{secrets.choice(ADJECTIVES)} {secrets.choice(ANIMALS)}"
