"""Render the demo's bundled sample: small catalogue photos of modelled products, in 7 categories.

Every photo is modelled, lit and rendered here from nothing but this file, so the sample carries
no one's copyright. Blender's Python package does the work, in Python 3.11:

    pip install bpy
    python data/render_samples.py                   # all photos, into data/sample/<category>/
    python data/render_samples.py mug wristwatch    # only these kinds of object
    python data/render_samples.py mug-2 --size 160 --samples 8 --out draft

A photo is named <object>-<n>.jpg and draws its colours, proportions, light and camera from a
random stream of its own, seeded by SEED and that name, so it comes out the same when rendered
alone. To add a kind of object, write a builder (it models around the origin, in any unit, z up,
front towards -y, and returns a View) and enter it in SAMPLE with the number of photos wanted.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import atan2, cos, degrees, exp, hypot, pi, radians, sin, sqrt
from pathlib import Path
from random import Random
from time import perf_counter
from typing import NamedTuple

import bpy  # first: it makes bmesh and mathutils importable

# isort: split
import bmesh
import numpy as np
from mathutils import Euler, Matrix, Vector

SEED = 7
OUT = Path(__file__).resolve().parent / "sample"

BRIGHT = ["#d7263d", "#f46036", "#f2b134", "#2e9e5b", "#1b80c4", "#6a4fb3", "#e0569b", "#17a2a2"]
PASTEL = ["#f7c6d0", "#bfe0f5", "#cdebc5", "#fbe6a6", "#dccdf2", "#ffd9bd"]
MUTED = ["#7c8a76", "#b5654a", "#3f5d7d", "#8d6a9f", "#c9a66b", "#a23e48", "#4f7f80", "#d9b8a4"]
BLACK, WHITE, CREAM, GOLD, SILVER = "#141416", "#f4f4f2", "#f3e6cf", "#f0c268", "#c9ccd1"
ORIGIN = (0, 0, 0)

Point = Sequence[float]
Surface = Callable[[float, float], Point]
Setting = float | Point
Object = bpy.types.Object
Material = bpy.types.Material


class View(NamedTuple):
    """How a builder's object wants to be seen: camera height and turn range, in degrees."""

    low: float
    high: float
    turn: float = 25
    hang: bool = False  # on a wall, without a floor
    ground: str = ""  # its colour, where the object needs another than white


# --- paint and material -------------------------------------------------------------------------


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def blend(mask: np.ndarray, low: str, high: str) -> np.ndarray:
    """An image going from one colour to the other as the mask goes from 0 to 1."""
    return rgb(low) + np.clip(mask, 0, 1)[..., None] * (rgb(high) - rgb(low))


def grid(width: int = 512, height: int = 512) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))


def noise(r: Random, across: float, up: float, size: int = 512) -> np.ndarray:
    """Smooth noise around 0 with about so many waves each way."""
    white = np.fft.fft2(np.random.default_rng(r.getrandbits(32)).normal(size=(size, size)))
    fy, fx = np.meshgrid(*[np.fft.fftfreq(size) * size] * 2, indexing="ij")
    field = np.fft.ifft2(white * np.exp(-((fx / across) ** 2) - (fy / up) ** 2)).real
    return field / field.std()


def pattern(r: Random, low: str, high: str, n: int = 8, around: float = 1) -> np.ndarray:
    """Stripes, checks, dots, zigzag or diamonds, n to the height and n * around to the width."""
    u, v = grid()
    u = u * around
    row = np.floor(v * n)
    masks = [
        u * n % 1 < 0.5,
        ((u * n % 1 < 0.5) * 1.0 + (v * n % 1 < 0.5)) / 2,
        np.hypot((u * n + row % 2 / 2) % 1 - 0.5, v * n % 1 - 0.5) < 0.27,
        (v * n + np.abs(u * n % 2 - 1)) % 2 < 0.9,
        np.abs(u * n % 2 - 1) + np.abs(v * n % 2 - 1) < 0.75,
    ]
    return blend(r.choice(masks) * 1.0, low, high)


def wood(r: Random) -> np.ndarray:
    _, v = grid()
    low, high = r.choice([("#8a5a34", "#b98a5b"), ("#b08a62", "#dcc09a"), ("#5d3d28", "#85603f")])
    grain = 0.5 + 0.3 * noise(r, 3, 60) + 0.12 * np.sin(v * 60 + 2 * noise(r, 2, 3))
    planks = np.array([r.uniform(-0.25, 0.25) for _ in range(8)])[np.minimum(v * 8, 7).astype(int)]
    return blend((grain + planks) * (v * 8 % 1 > 0.015), low, high)


def material(
    paint: str | np.ndarray,
    rough: float = 0.5,
    metal: float = 0.0,
    bump: Point = (),
    coord: str = "UV",
    **more: float,
) -> Material:
    """A Principled material; coord says how an image is mapped, bump is (noise scale, strength)."""
    mat = bpy.data.materials.new("material")
    if not mat.node_tree:  # before Blender 5
        mat.use_nodes = True
    tree, node = mat.node_tree, mat.node_tree.nodes["Principled BSDF"]
    sockets = {socket.name.lower().replace(" ", "_"): socket for socket in node.inputs}
    for name, value in {"roughness": rough, "metallic": metal, **more}.items():
        sockets[name].default_value = value
    colored = ["Base Color"] + ["Emission Color"] * ("emission_strength" in more)
    for name in colored:
        if isinstance(paint, str):
            node.inputs[name].default_value = (*(rgb(paint) ** 2.2), 1)
        else:
            texture = tree.nodes.new("ShaderNodeTexImage")
            texture.image = image(paint)
            place = tree.nodes.new("ShaderNodeTexCoord")
            tree.links.new(place.outputs[coord], texture.inputs["Vector"])
            tree.links.new(texture.outputs["Color"], node.inputs[name])
    if bump:
        texture, bumps = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeBump")
        texture.inputs["Scale"].default_value, bumps.inputs["Strength"].default_value = bump
        place = tree.nodes.new("ShaderNodeTexCoord")
        tree.links.new(place.outputs["Object"], texture.inputs["Vector"])
        tree.links.new(texture.outputs[0], bumps.inputs["Height"])
        tree.links.new(bumps.outputs["Normal"], node.inputs["Normal"])
    return mat


def image(pixels: np.ndarray, light: bool = False) -> bpy.types.Image:
    height, width = pixels.shape[:2]
    picture = bpy.data.images.new("image", width, height, float_buffer=light)
    picture.pixels = np.dstack([pixels, np.ones((height, width))]).astype(np.float32).ravel()
    picture.pack()
    return picture


def cloth(paint: str | np.ndarray, coord: str = "UV") -> Material:
    return material(paint, 0.95, bump=(60, 0.25), coord=coord, sheen_weight=0.3)


def plastic(paint: str | np.ndarray, rough: float = 0.3) -> Material:
    return material(paint, rough, coat_weight=0.4)


def glass(color: str = "#ffffff") -> Material:
    return material(color, 0.03, transmission_weight=1.0)


def steel(color: str = SILVER, rough: float = 0.22) -> Material:
    return material(color, rough, 1.0)


# --- shapes -------------------------------------------------------------------------------------


def link(data: bpy.types.ID, mat: Material) -> Object:
    data.materials.append(mat)
    obj = bpy.data.objects.new("part", data)
    bpy.context.collection.objects.link(obj)
    return obj


def move(objs: Object | Iterable[Object], at: Point = ORIGIN, rot: Point = ORIGIN) -> list[Object]:
    """Turn objects about the origin (degrees, x first), then shift them."""
    turn = Euler([radians(a) for a in rot]).to_matrix().to_4x4()
    objs = [objs] if isinstance(objs, Object) else list(objs)
    for obj in objs:
        obj.matrix_basis = Matrix.Translation(at) @ turn @ obj.matrix_basis
    return objs


def warp(obj: Object, bend: Callable[[Vector], Point]) -> Object:
    for vertex in obj.data.vertices:
        vertex.co = bend(vertex.co)
    return obj


def solid(
    bm: bmesh.types.BMesh,
    mat: Material,
    at: Point = ORIGIN,
    rot: Point = ORIGIN,
    bevel: float = 0.0,
    thick: float = 0.0,
) -> Object:
    """Close a mesh under construction into a smooth-shaded object of the scene."""
    bmesh.ops.remove_doubles(bm, verts=bm.verts, dist=1e-5)
    bmesh.ops.recalc_face_normals(bm, faces=bm.faces)
    data = bpy.data.meshes.new("part")
    bm.to_mesh(data)
    bm.free()
    data.shade_smooth()
    data.set_sharp_from_angle(angle=radians(45))
    obj = link(data, mat)
    if thick:
        shell = obj.modifiers.new("thick", "SOLIDIFY")
        shell.thickness, shell.offset = thick, 0
    if bevel:
        edge = obj.modifiers.new("bevel", "BEVEL")
        edge.width, edge.segments, edge.harden_normals = bevel, 3, True
    return move(obj, at, rot)[0]


def sheet(f: Surface, nu: int, nv: int, mat: Material, **finish: Setting) -> Object:
    """The surface f(u, v) over the unit square, with UV coordinates; seams and poles are welded."""
    bm = bmesh.new()
    uv = bm.loops.layers.uv.new()
    verts = [[bm.verts.new(f(i / nu, j / nv)) for i in range(nu + 1)] for j in range(nv + 1)]
    for j in range(nv):
        for i in range(nu):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            face = bm.faces.new([verts[b][a] for a, b in corners])
            for loop, (a, b) in zip(face.loops, corners, strict=True):
                loop[uv].uv = a / nu, b / nv
    return solid(bm, mat, **finish)


def lathe(profile: Sequence[Point], mat: Material, n: int = 64, **finish: Setting) -> Object:
    """The (radius, z) profile turned about the z axis."""
    last = len(profile) - 1

    def f(u: float, v: float) -> Point:
        radius, z = profile[round(v * last)]
        return radius * cos(2 * pi * u), radius * sin(2 * pi * u), z

    return sheet(f, n, last, mat, **finish)


def rod(radius: float, height: float, mat: Material, n: int = 48, **finish: Setting) -> Object:
    return lathe([(0, 0), (radius, 0), (radius, height), (0, height)], mat, n, **finish)


def ball(size: Point, at: Point, mat: Material, rot: Point = ORIGIN) -> Object:
    obj = lathe([(sin(pi * i / 20), -cos(pi * i / 20)) for i in range(21)], mat, 40)
    warp(obj, lambda p: [a * b for a, b in zip(p, size, strict=True)])
    return move(obj, at, rot)[0]


def ring(
    big: float, small: float, mat: Material, at: Point = ORIGIN, rot: Point = ORIGIN
) -> Object:
    circle = [2 * pi * i / 24 for i in range(25)]
    profile = [(big + small * cos(a), small * sin(a)) for a in circle]
    return lathe(profile, mat, at=at, rot=rot)


def box(size: Point, at: Point, mat: Material, bevel: float = 0.0, rot: Point = ORIGIN) -> Object:
    bm = bmesh.new()
    bmesh.ops.create_cube(bm, size=1, matrix=Matrix.Diagonal((*size, 1)))
    return solid(bm, mat, at, rot, bevel)


def panel(width: float, height: float, at: Point, mat: Material, rot: Point = ORIGIN) -> Object:
    """A flat rectangle with UV coordinates, facing up."""
    return sheet(lambda u, v: ((u - 0.5) * width, (v - 0.5) * height, 0), 1, 1, mat, at=at, rot=rot)


def slab(outline: Sequence[Point], thick: float, mat: Material, **finish: Setting) -> Object:
    """A flat plate with the (x, y) outline."""
    bm = bmesh.new()
    bm.faces.new([bm.verts.new((*point[:2], 0)) for point in outline])
    bmesh.ops.triangulate(bm, faces=bm.faces)
    return solid(bm, mat, thick=thick, **finish)


def mirror(half: Sequence[Point]) -> list[Point]:
    """An (x, y) outline made whole from its right half."""
    return [*half, *[(-x, y) for x, y in reversed(half) if x]]


def smooth(*points: Point, n: int = 8, closed: bool = False) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    p = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    q, out = [np.array(point, float) for point in p], []
    for a, b, c, d in (q[i : i + 4] for i in range(len(q) - 3)):
        cubic, square = 3 * b - a - 3 * c + d, 2 * a - 5 * b + 4 * c - d
        out += [b + ((c - a) * t + square * t**2 + cubic * t**3) / 2 for t in np.arange(n) / n]
    return [tuple(point) for point in (out if closed else [*out, q[-1]])]


def tube(
    points: Sequence[Point], radius: float, mat: Material, end: float = 1, closed: bool = False
) -> Object:
    """A round tube along the points, tapering to `end` times its radius."""
    data = bpy.data.curves.new("tube", "CURVE")
    data.dimensions, data.bevel_depth, data.bevel_resolution = "3D", radius, 6
    data.use_fill_caps = True
    spline = data.splines.new("POLY")
    spline.points.add(len(points) - 1)
    spline.use_cyclic_u = closed
    for i, point in enumerate(points):
        spline.points[i].co = (*point, 1)
        spline.points[i].radius = 1 + (end - 1) * i / len(points)
    return link(data, mat)


def text(
    body: str, size: float, at: Point, mat: Material, rot: Point = ORIGIN, bend: float = 0.0
) -> Object:
    """Raised letters in the xy plane, facing up; or, with bend, upright round that radius."""
    data = bpy.data.curves.new("text", "FONT")
    data.body, data.size, data.extrude = body, size, size * 0.02
    data.align_x, data.align_y = "CENTER", "CENTER"
    obj = link(data, mat)
    if bend:
        graph = bpy.context.evaluated_depsgraph_get()
        flat = bpy.data.meshes.new_from_object(obj.evaluated_get(graph))
        bpy.data.objects.remove(obj)
        obj = bpy.data.objects.new("text", flat)
        bpy.context.collection.objects.link(obj)
        warp(obj, lambda p: ((bend + p.z) * sin(p.x / bend), -(bend + p.z) * cos(p.x / bend), p.y))
    return move(obj, at, rot)[0]


def fur(r: Random, objs: Iterable[Object], density: float, length: float, mat: Material) -> None:
    """Cover objects with thin blades, as plush or terry."""
    rng = np.random.default_rng(r.getrandbits(32))
    graph = bpy.context.evaluated_depsgraph_get()
    for obj in objs:
        data = obj.evaluated_get(graph).to_mesh()
        data.calc_loop_triangles()
        where = np.array([obj.matrix_basis @ v.co for v in data.vertices])
        corners = where[[t.vertices[:] for t in data.loop_triangles]]
        a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        normal = np.cross(ab, ac)
        area = np.linalg.norm(normal, axis=1) / 2 + 1e-12
        pick = rng.choice(len(area), int(area.sum() * density), p=area / area.sum())
        s, t = np.sort(rng.random((2, len(pick))), axis=0)
        root = a[pick] + s[:, None] * ab[pick] + (t - s)[:, None] * ac[pick] * (t > s)[:, None]
        lean = normal[pick] / area[pick, None] / 2 + rng.normal(0, 0.45, root.shape) - (0, 0, 0.25)
        side = np.cross(lean, rng.normal(size=root.shape))
        side *= length * 0.07 / np.linalg.norm(side, axis=1)[:, None]
        tip = root + lean * length * rng.uniform(0.6, 1.2, (len(pick), 1))
        blades = bpy.data.meshes.new("fur")
        verts = np.stack([root - side, root + side, tip], 1).reshape(-1, 3)
        blades.from_pydata(verts, [], np.arange(len(verts)).reshape(-1, 3))
        link(blades, mat)


def built() -> list[Object]:
    """All that a builder has made so far."""
    return list(bpy.data.objects)


# --- baby care ----------------------------------------------------------------------------------


def teddy_bear(r: Random) -> View:
    coat = r.choice(["#8a5a2e", "#c08a4e", "#e3c79c", "#6b4226", "#d9d2c7"])
    plush, light = material(coat, 0.9), material("#f3dfba", 0.9)
    shiny, ribbon = plastic(BLACK, 0.1), cloth(r.choice(BRIGHT))
    fat = r.uniform(0.92, 1.1)
    body = [ball((0.62 * fat, 0.52, 0.72), (0, 0, 0.75), plush)]
    body.append(ball((0.56, 0.5, 0.5), (0, -0.05, 1.75), plush))
    pale = [ball((0.42 * fat, 0.2, 0.48), (0, -0.38, 0.75), light)]
    pale.append(ball((0.25, 0.22, 0.19), (0, -0.47, 1.64), light))
    for x in (-1, 1):
        body.append(ball((0.2, 0.11, 0.2), (0.43 * x, 0, 2.18), plush))
        body.append(ball((0.2, 0.22, 0.5), (0.66 * x * fat, -0.2, 0.95), plush, (-25, x * -28, 0)))
        body.append(ball((0.27, 0.52, 0.27), (0.48 * x, -0.55, 0.25), plush, (0, 0, x * 18)))
        pale.append(ball((0.12, 0.06, 0.12), (0.43 * x, -0.09, 2.17), light))
        pale.append(ball((0.2, 0.06, 0.2), (0.63 * x, -1.03, 0.27), light, (0, 0, x * 18)))
        ball((0.065, 0.05, 0.07), (0.2 * x, -0.52, 1.86), shiny)
        ball((0.22, 0.09, 0.15), (0.2 * x, -0.53, 1.27), ribbon, (0, x * -20, 0))
    fur(r, body, 9000, 0.075, plush)
    fur(r, pale, 9000, 0.045, light)
    ball((0.1, 0.06, 0.07), (0, -0.69, 1.72), shiny)
    ball((0.08, 0.08, 0.09), (0, -0.58, 1.27), ribbon)
    tube(smooth((-0.1, -0.66, 1.54), (0, -0.7, 1.56), (0.1, -0.66, 1.54)), 0.014, shiny)
    tube([(0, -0.7, 1.56), (0, -0.72, 1.7)], 0.014, shiny)
    return View(5, 20, 25)


def baby_bottle(r: Random) -> View:
    h, waist, accent = r.uniform(1.7, 2.3), r.uniform(0.44, 0.52), plastic(r.choice(BRIGHT))
    wall = smooth((0.5, 0.06), (0.55, 0.2), (waist, h * 0.5), (0.55, h * 0.85), (0.42, h))
    lathe([(0, 0), (0.45, 0), *wall], glass("#f4fbff"), thick=0.03)
    level = h * r.uniform(0.55, 0.75)
    milk = [(x - 0.04, z + 0.03) for x, z in wall if z < level]
    milky = material("#fffaf0", 0.4, emission_strength=0.4)
    lathe([(0, 0.03), *milk, (0, milk[-1][1])], milky)
    collar = [(0.4, 0), (0.56, 0), (0.56, 0.32), (0.5, 0.38), (0.3, 0.38)]
    lathe(collar, accent, at=(0, 0, h), bevel=0.03)
    for a in np.arange(36) * pi / 18:
        at = 0.56 * cos(a), 0.56 * sin(a), h + 0.17
        box((0.03, 0.03, 0.26), at, accent, 0.01, (0, 0, degrees(a)))
    teat = smooth((0.4, 0), (0.38, 0.12), (0.22, 0.26), (0.12, 0.42), (0.14, 0.56), (0.1, 0.66))
    silicone = material("#f0d3a0", 0.25, subsurface_weight=0.4)
    lathe([*teat, (0, 0.69)], silicone, at=(0, 0, h + 0.38))
    for i in range(8):
        at = 0, 0, 0.3 + i * h * 0.075
        text("-" if i % 2 else "---", 0.22, at, accent, (0, 0, -16), bend=0.575)
        if i % 2 == 0:
            text(str(30 * (i + 1)), 0.14, at, accent, (0, 0, 14), bend=0.575)
    if r.random() < 0.6:
        ring(0.58, 0.05, accent, (0, 0, h * 0.82))
        for x in (-1, 1):
            grip = [(0.6 * x, 0, 0.82 * h), (x, 0, 0.75 * h), (1.02 * x, 0, 0.4 * h)]
            tube(smooth(*grip, (0.55 * x, 0, 0.3 * h)), 0.08, accent)
    return View(4, 18, 30)


def stacking_rings(r: Random) -> View:
    colors, count, z = r.sample(BRIGHT, 6), r.choice([4, 5, 6]), 0.28
    base = plastic(r.choice([WHITE, "#d8b48a", colors[5]]))
    lathe(smooth((0, 0), (1.0, 0.02), (1.06, 0.14), (0.9, 0.26), (0.2, 0.3)), base)
    rod(0.16, 2.2, plastic("#e9d3b0"))
    for i in range(count):
        small = 0.26 - 0.012 * i
        ring(0.72 - 0.085 * i, small, plastic(colors[i % 5], 0.22), (0, 0, z + small))
        z += small * 1.8
    head, face = smooth((0, 0), (0.2, 0), (0.36, 0.2), (0.3, 0.42), (0, 0.52)), plastic(BLACK, 0.1)
    lathe(head, plastic(colors[5]), at=(0, 0, z))
    for x in (-0.12, 0.12):
        ball((0.045, 0.04, 0.05), (x, -0.33, z + 0.28), face)
    smile = smooth((-0.1, -0.34, z + 0.18), (0, -0.36, z + 0.14), (0.1, -0.34, z + 0.18))
    tube(smile, 0.016, face)
    return View(12, 30, 30)


def romper(r: Random) -> View:
    half = [(0.12, 1.28), (0.22, 1.45), (0.5, 1.42), (1.15, 1.0), (0.97, 0.66), (0.6, 0.9)]
    half += [(0.56, 0.2), (0.68, -0.5), (0.78, -1.05), (0.24, -1.15), (0.1, -0.75)]
    base, accent = r.sample(["#ee8aa4", "#74b3e4", "#86c97c", "#f4c84f", "#b093e4"], 2)
    print_ = cloth(pattern(r, base, WHITE, r.choice([9, 13])), "Generated")
    suit = slab(smooth(*mirror(half), n=5, closed=True), 0.2, print_)
    puff = suit.modifiers.new("puff", "REMESH")
    puff.mode, puff.voxel_size, puff.use_smooth_shade = "VOXEL", 0.025, True
    suit.modifiers.new("soft", "SMOOTH").iterations = 12
    trim, snap = cloth(accent), plastic(r.choice(BRIGHT), 0.15)
    neck = [(-0.24, 1.44, 0.06), (-0.14, 1.3, 0.09), (0.14, 1.3, 0.09), (0.24, 1.44, 0.06)]
    tube(smooth(*neck), 0.05, trim)
    for x in (-1, 1):
        tube([(x * 1.15, 0.99, 0), (x * 0.98, 0.67, 0)], 0.1, trim)
        tube([(x * 0.77, -1.06, 0), (x * 0.25, -1.15, 0)], 0.1, trim)
    for i in range(4):
        rod(0.045, 0.03, snap, bevel=0.01, at=(0, 1.15 - 0.17 * i, 0.08))
    heart = mirror([(0, -0.3), (0.3, 0.02), (0.26, 0.22), (0.12, 0.25), (0, 0.17)])
    slab(smooth(*heart, closed=True), 0.02, trim, at=(0, 0.1, 0.12))
    text("baby", 0.2, (0, 0.12, 0.135), snap)
    return View(62, 80, 12)


# --- beauty and personal care -------------------------------------------------------------------


def lipstick(r: Random) -> View:
    body = r.choice([plastic(BLACK, 0.15), steel(GOLD), plastic("#7a1f3d", 0.15), steel("#e8b7a6")])
    gold = steel(r.choice([GOLD, "#d4d6da"]), 0.15)
    shade = r.choice(["#b3122d", "#d63a6a", "#8c1c3a", "#e0573e", "#a8485a"])
    h = r.uniform(0.65, 0.95)
    rod(0.5, 1.3, body, bevel=0.04)
    rod(0.43, 0.5, gold, bevel=0.03, at=(0, 0, 1.3))
    rod(0.37, 0.25, gold, bevel=0.02, at=(0, 0, 1.8))
    steps = [(0.33, z) for z in np.linspace(0, h - 0.33, 30)[:-1]]
    steps += [(0.33 * cos(a), h - 0.33 + 0.33 * sin(a)) for a in np.linspace(0, pi / 2, 12)]
    bullet = lathe(steps, material(shade, 0.28, coat_weight=0.3))
    warp(bullet, lambda p: (p.x, p.y, min(p.z, h - 0.27 - 0.68 * p.x + 0.5 * p.y)))
    move(bullet, (0, 0, 2.0))
    hollow = [(0.5, 0), (0.5, 1.75), (0, 1.75), (0, 1.7), (0.46, 1.7), (0.46, 0)]
    cap = [lathe(hollow, body, bevel=0.03), lathe([(0.505, 0.05), (0.505, 0.2)], gold)]
    if r.random() < 0.5:
        move(cap, (r.choice([-1.15, 1.15]), 0.3, 0))
    else:
        move(cap, (0.9, -0.75, 0.5), (90, 0, r.uniform(50, 75)))
    return View(8, 22, 20)


def lotion(r: Random) -> View:
    color, accent = r.choice([WHITE, CREAM, *PASTEL]), r.choice([*BRIGHT, *MUTED])
    h, wide, side = r.uniform(1.7, 2.3), r.uniform(0.62, 0.75), r.choice([-1, 1])
    shoulder = smooth((wide, h * 0.84), (wide * 0.93, h * 0.94), (0.32, h), (0.24, h + 0.08), n=5)
    lathe([(0, 0), (wide, 0), *shoulder], plastic(color, 0.25), bevel=0.03)
    top = plastic(r.choice([WHITE, accent, BLACK]), 0.2)
    for radius, tall, z in ((0.29, 0.3, 0.05), (0.09, 0.3, 0.35), (0.22, 0.16, 0.62)):
        rod(radius, tall, top, bevel=0.03, at=(0, 0, h + z))
    nozzle = smooth((0, 0, 0.71), (0.4, -0.1, 0.73), (0.66, -0.17, 0.69), (0.72, -0.19, 0.58))
    tube([(x * side, y, z + h) for x, y, z in nozzle], 0.1, top, end=0.7)
    lathe([(wide + 0.004, h * 0.12), (wide + 0.004, h * 0.74)], plastic(accent, 0.35))
    ink, wide = plastic(WHITE), wide + 0.005
    name = r.choice([("BODY", "LOTION"), ("HAND", "CREAM"), ("SHAMPOO",), ("FACE", "WASH")])
    for i, word in enumerate(name):
        text(word, 0.28, (0, 0, h * (0.6 - 0.15 * i)), ink, bend=wide)
    text("aloe & almond", 0.14, (0, 0, h * 0.29), ink, bend=wide)
    text("200 ml", 0.11, (0, 0, h * 0.19), ink, bend=wide)
    return View(6, 16, 12)


def nail_polish(r: Random) -> View:
    reds = ["#c4122f", "#e0558f", "#7a2048", "#f2865e", "#3b6fb0", "#5fb39a", "#caa0d8"]
    count, tall, square = r.choice([1, 2, 3]), r.uniform(1.1, 1.5), r.random() < 0.5
    cap, shades = plastic(r.choice([BLACK, BLACK, WHITE]), 0.2), r.sample(reds, count)
    wall = smooth((0.5, 0.0), (0.64, 0.25), (0.6, 0.7), (0.3, 1.1))
    stopper = [(0.27, 0), (0.29, 0.1), (0.2, tall), (0.16, tall + 0.05), (0, tall + 0.06)]
    for i, shade in enumerate(shades):
        paint = material(shade, 0.08, coat_weight=1.0, emission_strength=0.35)
        parts = [rod(0.24, 0.14, steel(GOLD), at=(0, 0, 1.08))]
        parts.append(lathe(stopper, cap, bevel=0.02, at=(0, 0, 1.2)))
        if square:
            parts.append(box((0.98, 0.98, 1.1), (0, 0, 0.55), glass(), 0.1))
            parts.append(box((0.84, 0.84, 0.9), (0, 0, 0.56), paint, 0.1))
            parts.append(text("NAIL\nCOLOR", 0.2, (0, -0.495, 0.55), plastic(WHITE), (90, 0, 0)))
        else:
            inner = [(x * 0.88, z * 0.85 + 0.08) for x, z in wall]
            parts.append(lathe([(0, 0), *wall, (0, 1.1)], glass()))
            parts.append(lathe([(0, 0.08), *inner, (0, 1.0)], paint))
            parts.append(text("NAIL", 0.2, (0, 0, 0.45), plastic(WHITE), bend=0.65))
        spin = r.uniform(-15, 15)
        move(parts, (1.35 * (i - (count - 1) / 2), -0.2 * (i % 2), 0), (0, 0, spin))
    if count == 1:
        brush = [rod(0.2, 1.4, cap, bevel=0.03), rod(0.035, 0.8, plastic(WHITE), at=(0, 0, -0.8))]
        brush.append(ball((0.08, 0.05, 0.25), (0, 0, -0.9), material(shades[0], 0.1)))
        move(brush, (0.5, -0.9, 0.2), (90, 0, 65))
    return View(6, 18, 20)


def soap(r: Random) -> View:
    color = r.choice([*PASTEL, "#f3dfae", "#9ccf8f", "#f2a6b5"])
    bar = material(color, 0.35, subsurface_weight=0.3, coat_weight=0.2)
    box((1.7, 1.05, 0.5), (0, 0, 0.5), bar, 0.2)
    ring(0.5, 0.015, bar, (0, 0, 0.75)).scale = (1.35, 0.75, 1)
    text(r.choice(["SOAP", "NEEM", "ROSE"]), 0.4, (0, 0, 0.77), plastic(r.choice(MUTED)))
    plate = plastic(r.choice([WHITE, "#2f6f8f", "#c98a5a"]), 0.2)
    inner = smooth((1.25, 0.42), (1.1, 0.2), (0.9, 0.1), (0, 0.1))
    dish = lathe([(0, 0), (0.9, 0), (1.12, 0.1), (1.32, 0.42), *inner], plate, bevel=0.02)
    warp(dish, lambda p: (p.x, p.y * 0.72, p.z))
    for _ in range(r.choice([14, 22])):
        a, size = r.uniform(0, 2 * pi), r.uniform(0.04, 0.13)
        ball([size] * 3, (cos(a), 0.65 * sin(a), 0.3 + size * 0.6), glass())
    return View(25, 42, 30)


# --- computers ----------------------------------------------------------------------------------


def lit_screen(r: Random) -> Material:
    """A screen that shows wallpaper, icons, two windows and a task bar."""
    u, v = grid(640, 400)
    low, high = r.choice([("#12355b", "#6fc3df"), ("#3b1c52", "#f08a5d"), ("#0f4c3a", "#a8d08d")])
    hill = v < 0.3 + 0.1 * np.sin(u * 7 + r.uniform(0, 6))
    screen = blend(v * 0.9 + 0.1 - 0.25 * hill, low, high)

    def fill(x: float, y: float, w: float, h: float, color: str) -> None:
        screen[(u > x) & (u < x + w) & (v > y) & (v < y + h)] = rgb(color)

    for x, y, w, h in ((0.17, 0.36, 0.46, 0.5), (r.uniform(0.44, 0.5), 0.18, 0.42, 0.48)):
        fill(x - 0.004, y - 0.006, w + 0.008, h + 0.012, "#30343b")
        fill(x, y, w, h, "#fbfbfb")
        fill(x, y + h - 0.07, w, 0.07, r.choice(["#d8dde4", "#2b579a", "#217346"]))
        for i, dot in enumerate(("#ff5f57", "#febc2e", "#28c840")):
            fill(x + 0.015 + 0.025 * i, y + h - 0.05, 0.014, 0.026, dot)
        for i in range(6):
            line = r.uniform(0.5, 1) * (w - 0.19)
            fill(x + 0.16, y + h - 0.14 - 0.055 * i, line, 0.018, "#7d8590")
        fill(x + 0.02, y + h - 0.24, 0.11, 0.14, r.choice(BRIGHT))
    fill(0, 0, 1, 0.075, "#1c1f26")
    for i in range(7):
        fill(0.33 + 0.05 * i, 0.016, 0.028, 0.045, r.choice(BRIGHT))
        fill(0.03, 0.85 - 0.16 * min(i, 4), 0.055, 0.085, BRIGHT[i])
    return material(screen, 0.2, emission_strength=0.75)


def keys(width: float, z: float, cap: Material, ink: Material, tall: float) -> list[Object]:
    """Five rows of lettered keys, 15 units wide in all, centred in x and running up from y = 0."""
    rows = [[1.25] * 3 + [6.25] + [1.25] * 4, [2.25, *[1] * 10, 2.75], [1.75, *[1] * 11, 2.25]]
    rows += [[1.5, *[1] * 12, 1.5], [*[1] * 13, 2]]
    letters = ["", " ZXCVBNM,./", " ASDFGHJKL;'", " QWERTYUIOP[]", "`1234567890-="]
    unit, parts = width / 15, []
    for j, row in enumerate(rows):
        x = -width / 2
        for i, w in enumerate(row):
            at, size = (x + w * unit / 2, (j + 0.5) * unit), (w * 0.9 - 0.06) * unit
            parts.append(box((size, unit * 0.84, tall), (*at, z + tall / 2), cap, unit * 0.09))
            if letters[j][i : i + 1].strip():
                parts.append(text(letters[j][i], unit * 0.5, (*at, z + tall), ink))
            x += w * unit
    return parts


def laptop(r: Random) -> View:
    dark, d, lean = r.random() < 0.5, r.uniform(2.0, 2.25), r.uniform(12, 24)
    body = steel("#3a3d42" if dark else r.choice(["#c4c7cc", "#d8c3b4", "#aab4c4"]), 0.4)
    black, w = plastic(BLACK, 0.4), 3.2
    box((w, d, 0.1), (0, 0, 0.06), body, 0.045)
    box((w * 0.9, d * 0.47, 0.004), (0, d * 0.16, 0.111), black)
    caps = plastic("#17181a" if dark else "#26282c", 0.5)
    move(keys(w * 0.87, 0.112, caps, plastic(WHITE), 0.03), (0, -d * 0.055, 0))
    pad = steel("#5a5d63" if dark else "#8e9299", 0.5)
    box((w * 0.33, d * 0.25, 0.006), (0, -d * 0.28, 0.111), pad, 0.003)
    lid = [box((w, d, 0.06), (0, d / 2, 0), body, 0.025)]
    lid.append(box((w * 0.985, d * 0.98, 0.01), (0, d / 2, 0.03), black))
    lid.append(panel(w * 0.94, d * 0.88, (0, d * 0.525, 0.037), lit_screen(r)))
    lid.append(text("notebook", 0.09, (0, d * 0.04, 0.036), plastic("#b8bcc2")))
    move(lid, (0, d / 2, 0.12), (90 - lean, 0, 0))
    rod(0.05, w * 0.8, black, at=(-w * 0.4, d / 2, 0.1), rot=(0, 90, 0))
    return View(18, 30, 32)


def keyboard(r: Random) -> View:
    dark = r.random() < 0.5
    body, ink = plastic(BLACK if dark else "#dfe2e6", 0.4), plastic(WHITE if dark else BLACK)
    color = r.choice(["#2a2c31", "#3a4150"] if dark else [WHITE, "#f0e2d0", "#cfe0ee"])
    caps, accent, unit = plastic(color, 0.45), plastic(r.choice(BRIGHT), 0.4), 0.28
    box((4.9, 1.85, 0.16), (0, 0.72, 0.08), body, 0.05)
    move(keys(4.2, 0.16, caps, ink, 0.13), (-0.2, 0.03, 0))
    for j in range(5):
        at = 2.15, 0.03 + (j + 0.5) * unit, 0.225
        box((unit * 1.1, unit * 0.84, 0.13), at, caps if j % 4 else accent, 0.025)
    cord = smooth((0, 1.6, 0.08), (0.1, 1.95, 0.05), (0.7, 2.2, 0.04), (1.8, 2.15, 0.04))
    tube(cord, 0.035, body)
    return View(38, 58, 25)


def mouse(r: Random) -> View:
    color, h = r.choice([BLACK, "#3a3f47", "#d9dce0", "#aab4c4", "#d7263d"]), r.uniform(0.62, 0.75)
    shell, dark = plastic(color, 0.35), plastic("#5a5d63" if color == BLACK else "#26282c", 0.4)

    def f(u: float, v: float) -> Point:
        a, rise = 2 * pi * u, min(v * 1.02, 1) * pi / 2
        x, y = cos(a) * cos(rise) ** 0.45, sin(a) * cos(rise) ** 0.5
        z = h * sin(rise) ** 0.9 * (1 - 0.22 * y - 0.16 * y * y)
        return 0.72 * x * (1 - 0.14 * cos(pi * y)), 1.15 * y, z

    sheet(f, 96, 32, shell)
    tube([f(0.25, v) for v in np.linspace(0.12, 0.9, 40)], 0.015, dark)
    tube([f(u, 0.75) for u in np.linspace(0, 0.5, 40)], 0.012, dark)
    for side in (0, 0.5):
        tube([f(u, 0.18) for u in np.linspace(side - 0.2, side + 0.2, 40)], 0.02, dark)
    ball((0.13, 0.28, 0.1), (0, 0.72, h * 0.72), dark)
    ring(0.13, 0.06, plastic(r.choice(BRIGHT), 0.5), (0, 0.72, h * 0.72), (0, 90, 0))
    if r.random() < 0.65:
        cord = [(0, 1.1, 0.12), (0.02, 1.5, 0.06), (0.5, 1.9, 0.04), (1.2, 1.7, 0.04)]
        tube(smooth(*cord, (1.5, 1.1, 0.04)), 0.04, dark)
    move(built(), rot=(0, 0, 180 + r.choice([-1, 1]) * r.uniform(20, 45)))
    return View(28, 45, 10)


def monitor(r: Random) -> View:
    w, body = r.uniform(3.2, 3.7), plastic(r.choice([BLACK, "#2c2f35", "#d5d8dc"]), 0.35)
    h = w * 0.6
    box((w, 0.12, h), (0, 0, h / 2 + 0.75), body, 0.03)
    panel(w * 0.965, h * 0.91, (0, -0.064, h / 2 + 0.78), lit_screen(r), (90, 0, 0))
    text("VIEW", 0.07, (0, -0.066, 0.81), plastic("#b8bcc2"), (90, 0, 0))
    box((0.36, 0.1, 1.2), (0, 0.14, 0.7), body, 0.03)
    warp(rod(0.75, 0.07, body, bevel=0.03), lambda p: (p.x * 1.2, p.y * 0.7, p.z))
    return View(4, 14, 28)


def usb_stick(r: Random) -> View:
    shell, metal, dark = plastic(r.choice(BRIGHT), 0.3), steel(rough=0.25), plastic(BLACK)
    box((1.7, 0.75, 0.32), (0, 0, 0), shell, 0.1)
    box((1.2, 0.5, 0.33), (-0.05, 0, 0), r.choice([steel(rough=0.35), plastic(WHITE)]), 0.05)
    text(r.choice(["16 GB", "32 GB", "64 GB"]), 0.3, (-0.05, 0, 0.167), dark)
    box((0.75, 0.54, 0.2), (1.2, 0, 0), metal, 0.01)
    box((0.02, 0.46, 0.12), (1.575, 0, 0), dark)
    for y in (-0.13, 0.13):
        box((0.14, 0.13, 0.21), (1.2, y, 0), dark)
    ring(0.16, 0.05, shell, (-0.95, 0, 0))
    lid = [box((0.9, 0.75, 0.32), (0, 0, 0), shell, 0.1)]
    lid.append(box((0.04, 0.56, 0.2), (-0.44, 0, 0), dark))
    move(lid, (0.9, 1.0, 0), (0, 0, r.uniform(-25, 10)))
    return View(35, 52, 30)


# --- home decor & festive needs -----------------------------------------------------------------


def flower(r: Random, at: Point, size: float, color: str, lean: Point) -> None:
    petal = material(color, 0.6, subsurface_weight=0.2)
    heart = material(r.choice(["#f4c430", "#5a3a1a"]), 0.8, bump=(60, 0.6))
    parts = [ball((0.2, 0.2, 0.1), (0, 0, 0.06), heart)]

    def f(u: float, v: float) -> Point:
        side = 2 * u - 1
        wide = 0.24 * sin(pi * min(v + 0.08, 1)) ** 0.6
        return wide * side, 0.1 + 0.72 * v, 0.28 * v * v + 0.1 * side * side

    for i in range(16):
        turn = 360 * i / 9 if i < 9 else 360 * (i + 0.5) / 7
        rise = r.uniform(-5, 8) + 25 * (i >= 9)
        parts.append(sheet(f, 6, 8, petal, at=(0, 0, 0.04 * (i >= 9)), rot=(rise, 0, turn)))
    for obj in parts:
        obj.matrix_basis = Matrix.Scale(size, 4) @ obj.matrix_basis
    move(parts, at, lean)


def vase(r: Random) -> View:
    round_ = [(0.34, 0), (0.62, 0.5), (0.5, 1.1), (0.24, 1.45), (0.34, 1.65)]
    tall = [(0.3, 0), (0.4, 0.6), (0.56, 1.2), (0.42, 1.55), (0.4, 1.65)]
    gourd = [(0.45, 0), (0.72, 0.45), (0.55, 0.85), (0.26, 1.15), (0.3, 1.6)]
    glazes = [(WHITE, "#2450a4"), (CREAM, "#b5654a"), ("#2f6f6f", "#e6c87a")]
    glazes.append(("#8d2f3f", "#f0d9b5"))
    shape, (low, high) = r.choice([round_, tall, gourd]), r.choice(glazes)
    plain, painted = r.choice([low, high]), pattern(r, low, high, r.choice([8, 12]))
    glaze = plastic(painted if r.random() < 0.65 else plain, 0.18)
    wall = smooth(*shape, n=10)
    lathe([(0, 0), *wall, *[(x - 0.03, z) for x, z in wall[:19:-1]]], glaze)  # and inside
    green, leaf = material("#4c8a3a", 0.6), material("#3f7a36", 0.6)
    colors = r.sample(["#e23d5b", "#f6a623", "#f7d547", "#f2f0ea", "#b05cc8", "#f58fb0"], 2)
    count = r.choice([6, 7, 8])
    for i in range(count):
        a, out = 2 * pi * i / count + r.uniform(-0.2, 0.2), r.uniform(0.55, 0.8) * (i > 0)
        head = out * cos(a), out * sin(a) * 0.7, 2.9 - 0.45 * out + r.uniform(-0.15, 0.2)
        tube(smooth((0, 0, 1.0), (0.12 * cos(a), 0.12 * sin(a), 1.6), head), 0.025, green)
        flower(r, head, r.uniform(0.44, 0.56), colors[i % 2], (25 - 55 * sin(a), 50 * cos(a), 0))
        blade, b = ball((0.11, 0.36, 0.02), (0, 0.36, 0), leaf), a + 0.4
        move(blade, (0.12 * cos(b), 0.12 * sin(b), 1.62), (35, 0, degrees(b) - 90))
    return View(5, 14, 30)


def painting(r: Random) -> np.ndarray:
    """A landscape: sun, three mountain ridges, water."""
    u, v = grid()
    sky = r.choice([("#f6b26b", "#4a6fa5"), ("#ffd9a0", "#c04a5a"), ("#dff1fa", "#4b93c9")])
    blue, green = ("#7d8fb3", "#4c6288", "#2b3d5e"), ("#8fa876", "#5d8050", "#2f5538")
    art = blend(v * 1.3 - 0.3 + 0.04 * noise(r, 4, 9), *sky)
    art[np.hypot(u - r.uniform(0.3, 0.7), v - 0.66) < 0.1] = rgb("#fff3c4")
    for i, color in enumerate(r.choice([blue, green])):
        peaks = [r.uniform(-1, 1) for _ in range(9)]
        art[v < 0.5 - 0.14 * i + 0.09 * np.interp(u, np.linspace(0, 1, 9), peaks)] = rgb(color)
    water = v < 0.13
    art[water] = blend(v * 6 + 0.15 * noise(r, 6, 40), "#27507a", "#9cc7de")[water]
    return art


def framed_picture(r: Random) -> View:
    w, h = r.choice([(3.0, 2.2), (2.2, 2.8), (2.6, 2.6)])
    edge, margin, wire = r.uniform(0.18, 0.3), r.choice([0.25, 0.4]), material("#6b5a40", 0.8)
    profile = [(0, 0), (0, 0.16), (edge * 0.5, 0.2), (edge, 0.1), (edge, 0)]

    def f(u: float, v: float) -> Point:
        x, y = [(-1, -1), (1, -1), (1, 1), (-1, 1)][round(u * 4) % 4]
        inset, z = profile[round(v * 4)]
        return x * (w / 2 + edge - inset), y * (h / 2 + edge - inset), z

    frames = [plastic(BLACK), steel(GOLD, 0.3), material(wood(r), 0.5), plastic(WHITE)]
    sheet(f, 4, 4, r.choice(frames), bevel=0.015)
    panel(w, h, (0, 0, 0.05), material("#fbfaf6", 0.8))
    panel(w - 2 * margin, h - 2 * margin, (0, 0, 0.06), material(painting(r), 0.5))
    top = h / 2 + edge
    tube([(-w / 3, top, 0), (0, top + 0.5, 0), (w / 3, top, 0)], 0.02, wire)
    ball([0.06] * 3, (0, top + 0.5, 0.02), steel())
    move(built(), rot=(90, 0, 0))
    return View(-4, 6, 28, hang=True)


def diya(r: Random) -> View:
    earth = material(r.choice(["#b4562d", "#c8742f", "#a8323e"]), 0.6)
    dots, oil = plastic("#f6e3a1"), material("#e2a93a", 0.05, coat_weight=1.0)
    bowl = smooth((0.4, 0), (0.62, 0.12), (0.92, 0.42), (0.86, 0.44), (0.55, 0.2), (0.3, 0.16), n=6)
    wick = smooth((0, 0, 0.32), (0, -0.6, 0.36), (0, -1.0, 0.5), (0, -1.05, 0.58))
    flame = smooth((0, 0), (0.13, 0.16), (0.1, 0.34), (0.03, 0.58), (0, 0.66))
    amber = material("#ffae2b", 0.5, emission_strength=2.6)
    glow = material("#fff3b8", 0.5, emission_strength=5)
    petals = [material(color, 0.7) for color in ("#f5a31a", "#f7c52c", "#d8342b")]

    def pinch(p: Vector) -> Point:
        lip = exp(-((atan2(p.x, -p.y) / 0.42) ** 2)) * min(1, p.z / 0.3)
        return p.x * (1 - 0.25 * lip), p.y * (1 + 0.42 * lip), p.z + 0.06 * lip

    count = r.choice([1, 1, 2])
    for i in range(count):
        parts = [warp(lathe([(0, 0), *bowl, (0, 0.15)], earth), pinch)]
        parts.append(rod(0.72, 0.01, oil, at=(0, 0, 0.3)))
        parts.append(tube(wick, 0.05, material("#e9e0cf", 0.9)))
        parts.append(lathe(flame, amber, at=(0, -1.05, 0.56)))
        parts.append(lathe([(x / 2, z * 0.6) for x, z in flame], glow, at=(0, -1.1, 0.58)))
        for a in np.linspace(-1, 4.14, 20):
            parts.append(ball([0.04] * 3, (0.84 * cos(a), 0.84 * sin(a), 0.3), dots))
        spin = r.uniform(-30, 30)
        move(parts, (2 * i - count + 1, 0.7 * (i % 2), 0), (0, 0, spin))
    for _ in range(26 + 10 * count):
        a, far, spin = r.uniform(0, 2 * pi), r.uniform(1.15, 1.45), r.uniform(0, 360)
        petal = ball((0.16, 0.11, 0.02), (0, 0, 0), r.choice(petals))
        at = (far + 1.05 * count - 1.05) * cos(a), far * sin(a), 0.03
        move(petal, at, (r.uniform(-20, 20), 0, spin))
    return View(20, 34, 15, ground=r.choice(["#5a1f3d", "#2d2a55", "#7a2e1e", "#efe3cf"]))


def lanterns(r: Random) -> View:
    count, colors, flat = r.choice([2, 3, 3]), r.sample([*BRIGHT, WHITE], 4), r.uniform(0.75, 1.05)
    wire, brass, radius = plastic(BLACK), steel(GOLD), 2.7 / count - 0.05 * (count < 3)
    tube(smooth((-2.6, 0, 0.2), (-1, 0, -0.06), (1, 0, -0.06), (2.6, 0, 0.2)), 0.025, wire)
    steps = list(enumerate(np.linspace(-1, 1, 31)))
    ribs = [(sqrt(1 - 0.93 * t * t) * radius * (1 - 0.05 * (j % 2)), t * flat) for j, t in steps]
    for i in range(count):
        x, drop, tall = 4.6 * (i / (count - 1) - 0.5), 0.25 + 0.5 * (i % 2), radius * flat
        paper = material(colors[i], 0.8, emission_strength=0.35, subsurface_weight=0.3)
        parts = [lathe([(rib, z * radius) for rib, z in ribs], paper)]
        parts.append(tube([(0, 0, tall), (0, 0, tall + drop)], 0.018, wire))
        for z in (-1, 1):
            parts.append(rod(0.3 * radius, 0.08, brass, at=(0, 0, z * tall - 0.04)))
        thread = plastic(r.choice(["#f2b134", colors[i]]))
        for a in np.arange(14) * pi / 7:
            x0, y0 = radius * cos(a), radius * sin(a)
            tail = [(0.1 * x0, 0.1 * y0, -tall), (0.2 * x0, 0.2 * y0, -tall - 0.5)]
            parts.append(tube(tail, 0.018, thread))
        move(parts, (x, 0, -drop - tall + 0.06 * abs(x) - 0.05))
    return View(-8, 4, 15, hang=True)


# --- home furnishing ----------------------------------------------------------------------------


def pillow(size: Point, mat: Material, trim: Material | None = None) -> list[Object]:
    w, d, h = size

    def f(u: float, v: float, side: int = 1) -> Point:
        x, y = 2 * u - 1, 2 * v - 1
        puff, pull = sqrt((1 - x**4) * (1 - y**4)), 0.93 + 0.07 * x * x * y * y
        narrow, short = 0.92 + 0.08 * y * y, 0.92 + 0.08 * x * x
        return w * x * narrow * pull / 2, d * y * short * pull / 2, side * h * puff / 2

    parts = [sheet(f, 40, 40, mat), sheet(lambda u, v: f(u, v, -1), 40, 40, mat)]
    if trim:
        t = np.arange(23) / 23
        rim = [(a, 0) for a in t] + [(1, a) for a in t]
        rim += [(1 - a, 1 - b) for a, b in rim]
        parts.append(tube([f(u, v) for u, v in rim], 0.035, trim, closed=True))
    return parts


def cushion(r: Random) -> View:
    colors, pale = r.sample(MUTED, 2), r.choice([CREAM, WHITE])
    for i in range(r.choice([1, 1, 2])):
        print_ = cloth(pattern(r, colors[i], pale, r.choice([5, 7, 9])))
        parts = pillow((2.4, 2.4, 1.0), print_, cloth(colors[1 - i]))
        move(parts, (-i, 0.9 * i, 0), (66 + 4 * i, 0, r.uniform(-10, 10)))
    return View(8, 20, 22)


def curtain(r: Random) -> View:
    color, metal = r.choice([*MUTED, CREAM, "#f2c9c9"]), r.choice([steel(), steel(GOLD)])
    striped = pattern(r, color, r.choice([WHITE, "#b5654a"]), 14)
    fabric = cloth(striped if r.random() < 0.5 else color)
    w, h, folds, phase = 1.5, r.uniform(3.3, 3.8), r.choice([6, 7]), r.uniform(0, 6)
    tied = r.choice([0, 0.55])
    rod(0.05, 4.6, metal, at=(-2.3, 0, 0), rot=(0, 90, 0))
    for side in (-1, 1):
        ball([0.12] * 3, (2.35 * side, 0, 0), metal)

        def f(u: float, v: float, side: int = side) -> Point:
            a, waist = 2 * pi * folds * u, tied * exp(-(((v - 0.66) / 0.22) ** 2))
            wide = w * (1 - 0.06 * sin(pi * v)) * (1 - waist)
            deep = (0.12 + 0.03 * sin(a / 3 + phase)) * cos(a + 0.5 * sin(2 * v + phase))
            return side * (2.1 - wide * u) + 0.02 * sin(3 * v + a), deep, 0.12 - h * v

        sheet(f, 160, 24, fabric)
        if tied:
            band = ring(0.35, 0.07, metal, (1.78 * side, 0, 0.12 - 0.66 * h))
            band.scale.y = 0.5
        for i in range(folds):
            x = side * (2.1 - w * (i + 0.25) / folds)
            ring(0.1, 0.025, metal, (x, 0, 0), (0, 90, 0))
    sky = material("#a9d4f2", 0.3, emission_strength=0.35)
    panel(2.4, 2.5, (0, 0.35, -1.5), sky, (90, 0, 0))
    for i in (-1, 0, 1):
        box((0.1, 0.1, 2.6), (1.2 * i, 0.33, -1.5), plastic(WHITE))
        box((2.5, 0.1, 0.1), (0, 0.33, 1.25 * i - 1.5), plastic(WHITE))
    return View(-3, 4, 12, hang=True)


def towels(r: Random) -> View:
    colors, z, (u, _) = r.sample([*PASTEL, *MUTED, WHITE], 4), 0.0, grid(256, 4)
    stripes = (abs(u - 0.82) < 0.02) | (abs(u - 0.75) < 0.02)
    for i in range(r.choice([3, 4])):
        terry = material(blend(stripes * 1.0, colors[i], colors[i - 1]), 0.95, bump=(45, 0.5))
        thick, w, wave = r.uniform(0.14, 0.17), r.uniform(1.2, 1.25), r.uniform(0, 6)
        for radius in (thick * 1.55, thick * 0.53):
            half_turn = np.linspace(-pi / 2, pi / 2, 14)
            bend = [(-0.75 - radius * cos(a), radius * sin(a)) for a in half_turn]
            ends = [(y, -radius) for y in (0.95, 0.6, 0.2, -0.3)]
            path = [*ends, *bend, *[(y, radius) for y, _ in reversed(ends)]]

            def f(
                u: float, v: float, path: list = path, look: Point = (z, thick, w, wave)
            ) -> Point:
                (y, up), (z, thick, w, wave) = path[round(v * (len(path) - 1))], look
                ripple = 0.012 * sin(7 * u + wave + 3 * v)
                return (2 * u - 1) * w, y + 0.02 * sin(5 * u + wave), z + 1.55 * thick + up + ripple

            layer = sheet(f, 30, len(path) - 1, terry, thick=thick, bevel=thick * 0.35)
            fur(r, [layer], 3000, 0.03, material(colors[i], 0.95))
        z += 4.1 * thick
    move(built(), rot=(0, 0, r.choice([-1, 1]) * 28))
    return View(10, 22, 12)


def bed(r: Random) -> View:
    oak = material(r.choice(["#6b4428", "#a87b4f", "#d9d4cc", "#3c2b22"]), 0.5)
    color, white = r.choice(MUTED), cloth("#f7f6f3")
    quilt = cloth(pattern(r, color, r.choice([WHITE, CREAM]), 8))
    box((3.3, 3.9, 0.35), (0, 0, 0.45), oak, 0.04)
    box((3.4, 0.14, 1.9), (0, 2.0, 1.0), oak, 0.08)
    box((3.1, 3.75, 0.5), (0, 0, 0.85), white, 0.16)
    for x in (-1, 1):
        for y in (-1.8, 1.8):
            box((0.16, 0.16, 0.5), (1.5 * x, y, 0.2), oak, 0.03)
        move(pillow((1.35, 0.95, 0.5), white), (0.78 * x, 1.45, 1.3), (28, 0, 0))
        move(pillow((1.0, 0.7, 0.4), cloth(color)), (0.78 * x, 0.98, 1.36), (42, 0, 0))

    def f(u: float, v: float) -> Point:
        """The quilt: flat on top, rippled where it falls over the sides and the foot."""
        s, t = (2 * u - 1) * 2.35, -2.6 + 3.3 * v
        side, foot = max(0, abs(s) - 1.62), max(0, -1.95 - t)
        ripple = 0.1 * sin(9 * (s + t)) * (side + foot)
        x = max(-1.62, min(1.62, s)) + ripple * (side > 0)
        y = max(-1.95, t) + ripple * (foot > 0)
        return x, y, 1.15 + 0.02 * sin(4 * s) * sin(5 * t) - max(side, foot)

    sheet(f, 94, 66, quilt, thick=0.07)
    box((3.32, 0.5, 0.1), (0, 0.5, 1.2), white, 0.045)
    return View(20, 32, 32)


# --- kitchen & dining ---------------------------------------------------------------------------


def mug(r: Random) -> View:
    h, color, accent = r.uniform(1.7, 2.1), r.choice([*BRIGHT, WHITE, CREAM]), r.choice(MUTED)
    glaze, inside = plastic(color, 0.15), plastic(WHITE, 0.15)
    lathe([(0, 0), (0.74, 0), (0.8, 0.06), (0.8, h), (0.74, h)], glaze, bevel=0.025)
    lathe([(0.745, h - 0.005), (0.73, 0.2), (0.6, 0.1), (0, 0.1)], inside)
    if r.random() < 0.65:
        rod(0.735, 0.01, material("#4a2511", 0.1), at=(0, 0, h * 0.86))
    if color in (WHITE, CREAM) or r.random() < 0.4:
        sleeve = plastic(pattern(r, color, accent, 4, 5), 0.15)
        lathe([(0.803, h * 0.25), (0.803, h * 0.75)], sleeve)
    elif r.random() < 0.7:
        word = r.choice(["COFFEE", "CHAI", "HELLO"])
        text(word, 0.34, (0, 0, h * 0.52), inside, (0, 0, 6), bend=0.802)
    ear = [(0.74, 0.83), (1.15, 0.82), (1.34, 0.55), (1.1, 0.24), (0.74, 0.18)]
    handle = tube(smooth(*[(x, 0, z * h) for x, z in ear]), 0.11, glaze)
    move(handle, rot=(0, 0, r.choice([-20, 200])))
    return View(16, 32, 18)


def frying_pan(r: Random) -> View:
    outside = r.choice([plastic(BLACK, 0.4), steel(), plastic("#b3262a"), plastic("#2d6a6f")])
    grip = r.choice([plastic(BLACK, 0.4), material("#7a4a28", 0.5)])
    lathe([(0, 0), (1.0, 0), (1.32, 0.36), (1.27, 0.37)], outside, bevel=0.02)
    coating = material("#222326", 0.35, 0.3)
    lathe([(1.29, 0.365), (1.26, 0.36), (0.97, 0.05), (0, 0.05)], coating, bevel=0.03)
    box((0.45, 0.2, 0.06), (1.45, 0, 0.33), steel(), 0.02, (0, -8, 0))
    stem = smooth((0.12, 0), (0.1, 0.5), (0.15, 1.1), (0.17, 1.55), (0.1, 1.7), (0, 1.72))
    handle = [slab(mirror(stem), 0.13, grip, bevel=0.05)]
    handle.append(ring(0.06, 0.025, steel(), (0, 1.55, 0.07)))
    move(move(handle, rot=(0, 0, -90)), (1.55, 0, 0.35), (0, -8, 0))
    for y in (-0.07, 0.07):
        ball((0.035, 0.035, 0.02), (1.17, y, 0.36), steel())
    if r.random() < 0.7:
        edge = [(a, r.uniform(0.85, 1.2)) for a in np.arange(11) * 2 * pi / 11]
        blob = smooth(*[(0.62 * k * cos(a), 0.55 * k * sin(a)) for a, k in edge], closed=True)
        white = material("#fbf8f0", 0.3, subsurface_weight=0.3)
        yolk = material("#f6a81c", 0.12, coat_weight=0.6)
        egg = [slab(blob, 0.06, white, bevel=0.028)]
        egg.append(ball((0.25, 0.25, 0.14), (0.05, 0.02, 0.06), yolk))
        move(egg, (r.uniform(-0.2, 0.2), r.uniform(-0.2, 0.1), 0.08))
    move(built(), rot=(0, 0, r.choice([-52, -128])))
    return View(34, 52, 14)


def place_setting(r: Random) -> View:
    china = [(WHITE, "#2450a4"), (CREAM, "#b5654a"), ("#cfe0e2", "#4f7f80"), ("#f6d9c8", "#c79a3f")]
    (base, rim), metal = r.choice(china), r.choice([steel(rough=0.15), steel(GOLD, 0.18)])
    dark, pale = r.choice([("#3f5d7d", "#5f7d9d"), ("#a23e48", "#b5606a"), ("#7c8a76", "#93a18d")])
    weave = cloth(pattern(r, dark, pale, 12))
    well = smooth((0.85, 0.06), (1.0, 0.14), (1.45, 0.24), (1.47, 0.2), (1.0, 0.02), n=6)
    lathe([(0, 0.06), *well, (0, 0)], plastic(base, 0.12))
    for radius in r.choice([(1.36,), (1.36, 1.28), (0.98, 1.38)]):
        z = 0.07 + 0.3 * (radius - 0.85)
        ring(radius, 0.022, plastic(rim, 0.2), (0, 0, z)).scale.z = 0.5
    tines = []
    for x in (0.055, 0.165):
        tines += [(x - 0.032, 0.95), (x - 0.028, 1.45), (x, 1.5)]
        tines += [(x + 0.028, 1.45), (x + 0.032, 0.95)]
    stem = smooth((0.2, 0.88), (0.17, 0.68), (0.05, 0.5), (0.05, 0), (0.1, -0.9), (0.08, -1.3))
    fork = slab(mirror([*tines, *stem]), 0.05, metal, bevel=0.018)
    warp(fork, lambda p: (p.x, p.y, 0.06 + p.z + 0.07 * max(0, p.y) ** 2 - 0.09 * max(0, p.y)))
    move(fork, (-1.78, 0, 0.02))
    edge = smooth((0.1, 1.5), (-0.1, 1.3), (-0.13, 0.6), (-0.1, 0.25), (-0.06, 0.2))
    haft = [(-0.08, 0), (-0.11, -0.8), (-0.08, -1.32), (0.08, -1.32), (0.1, -0.8), (0.08, 0.2)]
    slab([*edge, *smooth(*haft)], 0.06, metal, bevel=0.02, at=(1.74, 0, 0.05))
    sheet(lambda u, v: (4.6 * u - 2.3, 3.5 * v - 1.75, -0.02), 1, 1, weave, thick=0.04)
    return View(48, 68, 10)


def kettle(r: Random) -> View:
    enamel = [plastic(color, 0.15) for color in ("#b3262a", "#2d6a6f", CREAM)]
    body = r.choice([steel(rough=0.12), steel("#b8703f", 0.2), *enamel])
    dark, h = r.choice([plastic(BLACK, 0.35), material("#7a4a28", 0.5)]), r.uniform(1.2, 1.5)
    wall = smooth((0.95, 0.05), (1.06, 0.25), (0.98, h * 0.6), (0.62, h * 0.94), (0.5, h))
    lathe([(0, 0), (0.9, 0), *wall], body)
    lathe(smooth((0.53, -0.02), (0.5, 0.06), (0.3, 0.14), (0, 0.17)), body, at=(0, 0, h))
    ring(0.52, 0.025, steel(), (0, 0, h))
    rod(0.05, 0.1, steel(), at=(0, 0, h + 0.14))
    ball((0.13, 0.13, 0.11), (0, 0, h + 0.3), dark)
    spout = [(-0.7, 0.4), (-1.1, 0.55), (-1.3, 0.85), (-1.5, 1.05)]
    tube(smooth(*[(x, 0, z * h) for x, z in spout]), 0.27, body, end=0.42)
    ball((0.1, 0.1, 0.03), (-1.5, 0, h * 1.052), plastic(BLACK), (0, -42, 0))
    turns, tall = np.linspace(0.05, pi - 0.05, 40), h * 0.45 + 0.55
    arch = [(0.85 * cos(a), 0, h * 0.82 + tall * sin(a)) for a in turns]
    tube(arch, 0.045, steel())
    tube(arch[11:-11], 0.1, dark)
    move(built(), rot=(0, 0, r.choice([0, 180])))
    return View(8, 20, 28)


# --- watches ------------------------------------------------------------------------------------


def dial(r: Random, style: str) -> None:
    """A watch face of radius 0.85 in the plane z = 0, at about ten past ten."""
    faces = [(WHITE, BLACK), (CREAM, BLACK)]
    if style != "pocket":
        faces += [(color, WHITE) for color in ("#1d2c4f", BLACK, "#1f5141", "#7a2030")]
    face, color = r.choice(faces)
    ink = plastic(color)
    mark = r.choice([steel("#e8e8ea", 0.15), ink]) if color == WHITE else ink
    numerals = [str(i or 12) for i in range(12)]
    if style == "pocket" or r.random() < 0.25:
        numerals = ["XII", "I", "II", "III", "IIII", "V", "VI", "VII", "VIII", "IX", "X", "XI"]
    bars = {"pocket": 0, "dress": r.choice([0, 0, 1, 2]), "sport": r.choice([1, 2, 2])}[style]
    rod(0.86, 0.01, material(face, 0.35, 0.3))
    for i in range(60):
        a, (wide, tall) = pi / 30 * i, (0.012, 0.07) if i % 5 else (0.028, 0.11)
        box((wide, tall, 0.01), (0.79 * sin(a), 0.79 * cos(a), 0.015), ink, rot=(0, 0, -6 * i))
    for i, numeral in enumerate(numerals):
        at, turn = (0.61 * sin(pi / 6 * i), 0.61 * cos(pi / 6 * i), 0.02), (0, 0, -30 * i)
        if bars == 2 or (bars == 1 and i % 3):
            box((0.06, 0.2, 0.03), at, mark, 0.01, turn)
        else:
            text(numeral, 0.22, at, ink, turn if "I" in numerals else ORIGIN)
    text(r.choice(["QUARTZ", "CLASSIC", "AUTO"]), 0.1, (0, 0.28, 0.02), ink)
    minute, second = r.uniform(7, 12), plastic("#d7263d")
    hands = [(300 + minute / 2, 0.42, 0.055, mark), (minute * 6, 0.68, 0.04, mark)]
    hands.append((r.uniform(180, 240), 0.72, 0.016, second))
    for i, (angle, reach, wide, mat) in enumerate(hands):
        hand = mirror([(wide, -0.14), (wide * 0.9, reach * 0.75), (0, reach)])
        slab(hand, 0.015, mat, at=(0, 0, 0.05 + 0.025 * i), rot=(0, 0, -angle))
    rod(0.06, 0.13, mark)


def case(r: Random, metal: Material) -> None:
    """The case round a dial, with its bezel, crown and lugs."""
    bezel = r.choice([metal, metal, plastic(BLACK, 0.15), steel("#23305a", 0.2)])
    lathe([(0, -0.26), (0.9, -0.26), (1.0, -0.18), (1.0, 0.0), (0.97, 0.03)], metal, bevel=0.015)
    lathe([(0.98, 0.02), (0.95, 0.11), (0.87, 0.11), (0.85, 0.0)], bezel, 96, bevel=0.012)
    rod(0.12, 0.14, metal, 14, bevel=0.02, at=(1.0, 0, -0.1), rot=(0, 90, 0))
    for x, y in product((-1, 1), (-1, 1)):
        box((0.15, 0.42, 0.17), (x * 0.56, y * 0.95, -0.12), metal, 0.04, (y * -16, 0, 0))


def strap_at(s: float, loop: bool) -> tuple[float, float, float]:
    """Where a strap is (y, z) and its slope in degrees, for s from 0 at the case to 1 or -1."""
    side, s = (1, s) if s > 0 else (-1, -s)
    if not loop:
        return side * (0.95 + 1.75 * s), -0.14 - 0.12 * s * s, -side * 6 * s
    t = 0.72 + (pi - 0.72) * s
    slope = degrees(atan2(-1.25 * sin(t), 1.5 * cos(t)))
    return side * 1.5 * sin(t), 1.25 * (cos(t) - cos(0.72)) - 0.14, side * slope


def strap(mat: Material, loop: bool, thick: float, width: Callable[[float], float]) -> None:
    for side in (-1, 1):

        def f(u: float, v: float, side: int = side) -> Point:
            y, z, _ = strap_at(side * (v + 0.001), loop)
            return (u - 0.5) * width(v), y, z

        sheet(f, 2, 44, mat, thick=thick, bevel=thick * 0.33)


def pose(r: Random, loop: bool) -> View:
    """Stand a looped watch up to face the camera, or leave an open one lying."""
    if loop:
        move(built(), rot=(r.uniform(62, 76), 0, 0))
        return View(4, 16, 28)
    move(built(), rot=(0, 0, r.choice([-1, 1]) * r.uniform(25, 45)))
    return View(52, 72, 5)


def wristwatch(r: Random) -> View:
    metal = r.choice([steel(), steel(GOLD), steel("#e0a58c"), steel("#3a3b40")])
    color = r.choice(["#5b3219", "#1b1b1d", "#9a5b2c", "#26375c", "#6d1f2a"])
    loop = r.random() < 0.6
    dial(r, "dress")
    case(r, metal)
    hide = material(color, 0.5, bump=(14, 0.35))
    strap(hide, loop, 0.1, lambda v: (0.96 - 0.16 * v) * sqrt(1 - 0.7 * v**16))
    thread, black = material("#e6d3b0", 0.8), plastic(BLACK)
    for s, x in product(np.linspace(-0.98, 0.98, 52), (-1, 1)):
        y, z, slope = strap_at(s, loop)
        lift = radians(slope)
        at = x * (0.41 - 0.08 * abs(s)), y - 0.05 * sin(lift), z + 0.05 * cos(lift)
        box((0.018, 0.06, 0.02), at, thread, rot=(slope, 0, 0))
    if not loop:
        buckle = [(-0.5, 0, 0), (0.5, 0, 0), (0.5, 0.4, 0), (-0.5, 0.4, 0)]
        pin = box((0.05, 0.4, 0.05), (0, 0.2, 0.04), metal, 0.02)
        move([tube(buckle, 0.05, metal, closed=True), pin], (0, 2.65, -0.24))
        for i in range(5):
            y, z, _ = strap_at(-0.5 - 0.09 * i, loop)
            rod(0.035, 0.02, black, at=(0, y, z + 0.04))
    return pose(r, loop)


def metal_watch(r: Random) -> View:
    tone, loop = r.choice([SILVER, GOLD, SILVER, "#34363b", "#e0a58c"]), r.random() < 0.7
    metal, shine = steel(tone, 0.28), steel(r.choice([tone, GOLD]), 0.1)
    dial(r, "sport")
    case(r, metal)
    count = 19 if loop else 13
    for side, i in product((-1, 1), range(count)):
        s = (i + 0.35) / count
        (y, z, slope), wide = strap_at(side * s, loop), 0.5 - 0.08 * min(1, 2 * s)
        for x, w, mat in ((-0.7, 0.56, metal), (0, 0.76, shine), (0.7, 0.56, metal)):
            box((wide * w, 0.152, 0.13), (x * wide, y, z), mat, 0.035, (slope, 0, 0))
    return pose(r, loop)


def digital_watch(r: Random) -> View:
    color, accent = r.choice([BLACK, BLACK, "#23305a", "#5b6340", "#8a1c2c"]), r.choice(BRIGHT)
    resin, trim, black = material(color, 0.45), material(accent, 0.4), plastic(BLACK, 0.2)
    lcd, ink, loop = material("#1c2019", 0.5), plastic(WHITE), r.random() < 0.5
    outline = np.array(mirror([(0.75, -1.0), (1.1, -0.55), (1.1, 0.55), (0.75, 1.0)]))
    slab(outline, 0.42, resin, bevel=0.08, at=(0, 0, -0.1))
    slab(outline * 0.86, 0.06, trim, bevel=0.012, at=(0, 0, 0.12))
    slab(outline * 0.82, 0.06, black, bevel=0.012, at=(0, 0, 0.14))
    box((1.4, 0.72, 0.02), (0, -0.02, 0.175), material("#b9c6a6", 0.3))
    segments = [(0, 2), (1, 1), (1, -1), (0, -2), (-1, -1), (-1, 1), (0, 0)]  # in the order a to g
    on = {"0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc", "5": "afgcd"}
    on["8"] = "abcdefg"
    time = r.choice(["1058", "1234", "1025"])
    for x, digit in zip((-0.52, -0.21, 0.21, 0.52), time, strict=True):
        for bar in on[digit]:
            across, up = segments["abcdefg".index(bar)]
            at = x + 0.1 * across, -0.06 + 0.105 * up, 0.19
            box((0.17, 0.04, 0.01), at, lcd, rot=(0, 0, 90 * abs(across)))
    for y in (-0.15, 0.05):
        box((0.045, 0.045, 0.01), (0, y, 0.19), lcd)
    text("WED 12-24", 0.13, (0, 0.245, 0.19), lcd)
    text("SPORT", 0.16, (0, 0.56, 0.175), ink)
    text("WATER RESIST", 0.11, (0, -0.58, 0.175), ink)
    for x, y in product((-1, 1), (-0.38, 0.38)):
        rod(0.09, 0.12, steel(), bevel=0.02, at=(x * 1.08, y, -0.08), rot=(0, x * 90, 0))
    strap(resin, loop, 0.13, lambda v: 1.44 - 0.48 * min(1, v * 2.2))
    for side, i in product((-1, 1), range(8)):
        y, z, slope = strap_at(side * (i + 1.5) / 11, loop)
        wide, mat = (0.5, resin) if i < 4 else (0.12, black)
        box((wide, 0.05, 0.16), (0, y, z), mat, 0.02, (slope, 0, 0))
    return pose(r, loop)


def pocket_watch(r: Random) -> View:
    metal = r.choice([steel(GOLD, 0.18), steel(), steel("#b5793f", 0.25)])
    dial(r, "pocket")
    back = [(0, -0.3), (0.7, -0.28), (1.0, -0.1), (1.02, 0.0), (0.97, 0.1), (0.88, 0.1), (0.85, 0)]
    lathe(back, metal, 96, bevel=0.02)
    rod(0.1, 0.2, metal, at=(0, 1.0, -0.05), rot=(-90, 0, 0))
    rod(0.15, 0.16, metal, 16, bevel=0.02, at=(0, 1.15, -0.05), rot=(-90, 0, 0))
    ring(0.24, 0.04, metal, (0, 1.36, -0.05))
    bends = [(0, 1.62), (0.45, 1.95), (1.2, 1.75), (1.5, 1.0), (1.42, 0.2), (1.75, -0.5)]
    chain, links = smooth(*bends, (1.5, -1.1), n=60), 0
    x, y = chain[0]
    for ahead in chain:
        if hypot(ahead[0] - x, ahead[1] - y) >= 0.15:
            turn, links = degrees(atan2(ahead[1] - y, ahead[0] - x)), links + 1
            oval = warp(ring(0.075, 0.022, metal), lambda p: (p.x * 1.5, p.y, p.z))
            move(move(oval, rot=(70 if links % 2 else 0, 0, 0)), (*ahead, -0.2), (0, 0, turn))
            x, y = ahead
    move(built(), rot=(0, 0, r.uniform(-25, 25)))
    return View(50, 72, 5)


# --- the studio ---------------------------------------------------------------------------------

SAMPLE: dict[str, dict[Callable[[Random], View], int]] = {
    "baby care": {teddy_bear: 4, baby_bottle: 4, stacking_rings: 3, romper: 3},
    "beauty and personal care": {lipstick: 4, lotion: 4, nail_polish: 3, soap: 3},
    "computers": {laptop: 4, keyboard: 3, mouse: 3, monitor: 2, usb_stick: 2},
    "home decor & festive needs": {vase: 4, framed_picture: 4, diya: 3, lanterns: 3},
    "home furnishing": {cushion: 4, curtain: 4, towels: 3, bed: 3},
    "kitchen & dining": {mug: 4, frying_pan: 4, place_setting: 3, kettle: 3},
    "watches": {wristwatch: 5, metal_watch: 4, digital_watch: 3, pocket_watch: 2},
}


def settle(turn: float) -> np.ndarray:
    """Turn, scale to 2 units and centre the built objects on z = 0; returns their points."""
    objs = built()

    def points() -> np.ndarray:
        graph, clouds = bpy.context.evaluated_depsgraph_get(), []
        for obj in objs:
            shape = obj.evaluated_get(graph)
            flat = np.empty(3 * len(shape.to_mesh().vertices), np.float32)
            shape.to_mesh().vertices.foreach_get("co", flat)
            world = np.array(obj.matrix_basis)
            some = flat.reshape(-1, 3)[:: 1 + len(flat) // 30000]
            clouds.append(some @ world[:3, :3].T + world[:3, 3])
        return np.concatenate(clouds)

    move(objs, rot=(0, 0, turn))
    low, high = points().min(0), points().max(0)
    scale = Matrix.Scale(2 / max(high - low), 4)
    middle = Matrix.Translation((-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]))
    for obj in objs:
        obj.matrix_basis = scale @ middle @ obj.matrix_basis
    bpy.context.view_layer.update()
    return points()


def backdrop(r: Random, depth: float, view: View) -> None:
    """A floor that curves up into a wall, or the wall alone."""
    u = r.random()
    tint = "#f4f4f3" if u < 0.62 else r.choice([*PASTEL, "#e6e2da", "#d5dbe0"])
    paper = material(view.ground or tint, 0.7, specular_ior_level=0.1)
    if view.hang:
        panel(40, 40, (0, depth + 0.06, 0), paper, (90, 0, 0))
        return
    far = depth + 5
    arc = [(far + 3 * sin(a), 3 - 3 * cos(a)) for a in np.linspace(0, pi / 2, 24)]
    path = [(-25, 0), *arc, (far + 3, 30)]
    sheet(lambda u, v: ((u - 0.5) * 80, *path[round(v * (len(path) - 1))]), 1, len(path) - 1, paper)
    if u > 0.84 and not view.ground:
        panel(7, 7, (0, 0, 0.002), material(wood(r), 0.45), (0, 0, r.uniform(-20, 20)))


def light(r: Random, view: View) -> None:
    """A room of soft boxes all around, painted on the sky, and one large lamp from above."""
    u, v = grid(256, 128)
    sky = 0.5 + 0.55 * np.clip(v - 0.35, 0, 1)
    for turn, wide, power in ((r.uniform(0.05, 0.3), 0.07, 2.2), (r.uniform(0.6, 0.9), 0.05, 1.6)):
        sky[(abs(u - turn) < wide) & (abs(v - 0.64) < 0.14)] = power
    sky[(abs(u - 0.5) < 0.06) & (v < 0.7)] = 0.12
    world = bpy.data.worlds.new("sky")
    if not world.node_tree:
        world.use_nodes = True
    bpy.context.scene.world = world
    texture = world.node_tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = image(np.dstack([sky] * 3), light=True)
    background = world.node_tree.nodes["Background"]
    world.node_tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    lamp = bpy.data.lights.new("key", "AREA")
    lamp.size, lamp.energy = r.uniform(1.6, 3), 230 if view.low > 45 else 330
    obj = bpy.data.objects.new("key", lamp)
    bpy.context.collection.objects.link(obj)
    a = r.uniform(-1.1, 1.1)
    obj.location = 5 * sin(a), -4 * cos(a), r.uniform(4.5, 6)
    obj.rotation_euler = (-obj.location).to_track_quat("-Z", "Y").to_euler()


def aim(r: Random, view: View, points: np.ndarray) -> None:
    """A camera that frames all the points, with a little room."""
    data = bpy.data.cameras.new("camera")
    data.lens = r.uniform(60, 90)
    camera = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    tilt = radians(90 - r.uniform(view.low, view.high))
    camera.rotation_euler = tilt, radians(r.uniform(-2, 2)), 0
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    where = camera.camera_fit_coords(graph, points.ravel().tolist())[0]
    ahead = camera.matrix_world.to_3x3() @ Vector((0, 0, -1))
    reach = ahead.dot(Vector(points.mean(0)) - where)
    camera.location = where - ahead * reach * r.uniform(0.04, 0.17)


def render(build: Callable[[Random], View], name: str, path: Path, size: int, samples: int) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    r = Random(f"{SEED}/{name}")
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = size
    view = build(r)
    points = settle(r.uniform(-view.turn, view.turn))
    backdrop(r, float(points[:, 1].max()), view)
    light(r, view)
    aim(r, view, points)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.seed, scene.cycles.use_denoising = samples, SEED, True
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 8, 2, 3
    scene.cycles.adaptive_threshold, scene.cycles.caustics_reflective = 0.05, False
    scene.cycles.denoising_prefilter = "FAST"
    scene.view_settings.view_transform = "Standard"
    settings = scene.render.image_settings
    settings.file_format, settings.quality = "JPEG", 88
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    strip(path)


def strip(path: Path) -> None:
    """Drop the notes that Blender writes into a JPEG: the time taken and such."""
    data, at = path.read_bytes(), 2
    kept = data[:at]
    while data[at + 1] != 0xDA:  # up to where the picture starts
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] < 0xE1:
            kept += data[at:end]
        at = end
    path.write_bytes(kept + data[at:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the bundled sample photos.")
    parser.add_argument("names", nargs="*", help="kinds (mug) or photos (mug-2); all if none")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--size", type=int, default=320, help="pixels each way")
    parser.add_argument("--samples", type=int, default=20)
    args = parser.parse_args()
    jobs = []
    for category, kinds in SAMPLE.items():
        for build, count in kinds.items():
            kind = build.__name__.replace("_", "-")
            for name in (f"{kind}-{i + 1}" for i in range(count)):
                if not args.names or {kind, name} & set(args.names):
                    jobs.append((build, name, args.out / category / f"{name}.jpg"))
    if not jobs:
        parser.error(f"no such kind or photo: {' '.join(args.names)}")
    for i, (build, name, path) in enumerate(jobs, 1):
        start = perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)
        render(build, name, path, args.size, args.samples)
        took = perf_counter() - start
        print(f"{i}/{len(jobs)} {path.parent.name}/{path.name} {took:.1f} s", flush=True)


if __name__ == "__main__":
    main()
