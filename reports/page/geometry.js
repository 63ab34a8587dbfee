// Outlines of a binary slice and surfaces of a binary volume.

// The edges (t, r, b, l) of a 2×2 block of voxels that an outline crosses, from and to. The index is the sum of the
// corners inside: 1 top left, 2 top right, 4 bottom right, 8 bottom left. The inside is always on the left.
const CROSSINGS = ["", "lt", "tr", "lr", "rb", "lt rb", "tb", "lb", "bl", "bt", "tr bl", "br", "rl", "rt", "tl", ""];
const EDGES = { t: [1, 0], r: [2, 1], b: [1, 2], l: [0, 1] }; // in half voxels

// Finds the closed outlines of the voxels inside, as lists of points [x, y] in voxels (marching squares).
function outlines(inside, width, height) {
  const next = new Map();
  const key = (x, y) => (y + 2) * (4 * width + 8) + x + 2;
  const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height && inside(x, y) ? 1 : 0);
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const corners = at(x, y) | (at(x + 1, y) << 1) | (at(x + 1, y + 1) << 2) | (at(x, y + 1) << 3);
      for (const crossing of CROSSINGS[corners].split(" ").filter(Boolean)) {
        const [from, to] = [...crossing].map((edge) => [2 * x + EDGES[edge][0], 2 * y + EDGES[edge][1]]);
        next.set(key(...from), { from, to });
      }
    }
  }
  const loops = [];
  for (const start of next.keys()) {
    const loop = [];
    for (let at = start; next.has(at); ) {
      const { from, to } = next.get(at);
      next.delete(at);
      loop.push([(from[0] + 1) / 2, (from[1] + 1) / 2]);
      at = key(...to);
    }
    if (loop.length) loops.push(loop);
  }
  return loops;
}

// Draws smooth outlines as a path. Each point moves to the mean of itself and its neighbours, by less than half a voxel,
// and curves join the middles of the lines. kx, ky: pixels per voxel.
function outlinePath(inside, width, height, kx, ky) {
  const path = new Path2D();
  const mean = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  for (const loop of outlines(inside, width, height)) {
    let points = loop.map(([x, y]) => [x * kx, y * ky]);
    const at = (n) => points[(n + points.length) % points.length];
    for (let round = 0; round < 2; round++) points = points.map((p, n) => mean(p, mean(at(n - 1), at(n + 1))));
    path.moveTo(...mean(at(0), at(1)));
    points.forEach((_, n) => path.quadraticCurveTo(...at(n + 1), ...mean(at(n + 1), at(n + 2))));
    path.closePath();
  }
  return path;
}

// Computes the surface of the voxels inside in mm, as plotly's mesh3d takes it (constrained elastic surface nets, Gibson
// 1998). It starts with the faces between voxels inside and outside. Their corners move to the middle of their neighbours
// in several rounds, but never by more than half a voxel, so that thin parts stay.
function surfaceMesh(inside, size, spacing) {
  const index = new Map();
  const corners = [];
  const quads = [];
  const at = (p) => p.every((n, axis) => n >= 0 && n < size[axis]) && inside(...p);
  const corner = (p) => {
    const key = (p[2] * (size[1] + 1) + p[1]) * (size[0] + 1) + p[0];
    if (!index.has(key)) index.set(key, corners.push(p) - 1);
    return index.get(key);
  };
  for (let z = 0; z < size[2]; z++) {
    for (let y = 0; y < size[1]; y++) {
      for (let x = 0; x < size[0]; x++) {
        if (!inside(x, y, z)) continue;
        for (let axis = 0; axis < 3; axis++) {
          for (const side of [0, 1]) {
            const beyond = [x, y, z];
            beyond[axis] += side ? 1 : -1;
            if (at(beyond)) continue;
            const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
            const face = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([du, dv]) => {
              const p = [x, y, z];
              p[axis] += side;
              p[u] += du;
              p[v] += dv;
              return corner(p);
            });
            quads.push(side ? face : face.reverse());
          }
        }
      }
    }
  }
  let places = corners;
  for (let round = 0; round < 4; round++) {
    const sums = corners.map(() => [0, 0, 0, 0]);
    const add = (to, [x, y, z]) => {
      to[0] += x;
      to[1] += y;
      to[2] += z;
      to[3] += 1;
    };
    for (const quad of quads) {
      quad.forEach((a, n) => {
        const b = quad[(n + 1) % 4];
        add(sums[a], places[b]);
        add(sums[b], places[a]);
      });
    }
    places = corners.map((p, n) =>
      p.map((at, axis) => Math.min(Math.max(sums[n][axis] / sums[n][3], at - 0.5), at + 0.5)),
    );
  }
  const coordinate = (axis) => places.map((p) => p[axis] * spacing[axis]);
  const triangles = quads.flatMap(([a, b, c, d]) => [[a, b, c], [a, c, d]]);
  const vertex = (n) => triangles.map((triangle) => triangle[n]);
  return { x: coordinate(0), y: coordinate(1), z: coordinate(2), i: vertex(0), j: vertex(1), k: vertex(2) };
}
