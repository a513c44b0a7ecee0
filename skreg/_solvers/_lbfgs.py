import numpy as np
from scipy.linalg.blas import dtrsv
from dataclasses import dataclass
from skreg._solvers._result import Result, Status

EPS = np.finfo(float).eps
OPT = dict(
    probe_pair=False,
    ls="segment",
    c=1e-4,
    tau=10,
    tries=5,
    acc="R",
    skip=False,
    inf=True,
    zseg=True,
)


class LBFGSMemory:
    def __init__(self, n_parameters, n_pairs):
        self._pairs = np.empty((2 * n_pairs, n_parameters))
        self._capacity = n_pairs
        self._order = np.arange(0)
        self._sy = np.zeros((n_pairs, n_pairs))
        self._yy = np.zeros((n_pairs, n_pairs))
        self._ss = np.zeros(n_pairs)
        self._support = None

    def clear(self):
        self._order = np.arange(0)

    def __len__(self):
        return len(self._order)

    def restrict(self, support):
        old = self._support
        self._support = support
        k = len(self)
        if support is None or k == 0:
            return
        changed = (
            np.flatnonzero(support != old)
            if old is not None
            else np.flatnonzero(~support)
        )
        if not changed.size:
            return
        n = np.count_nonzero(support)
        if 2 * changed.size < n:
            sign = np.where(support[changed], 1.0, -1.0)
            new = False
        else:
            changed = np.flatnonzero(support)
            sign = 1.0
            new = True
        W = self._pairs[: 2 * k].take(changed, axis=1)
        V = W * sign
        o = np.ix_(self._order, self._order)
        sy = (W[::2] @ V[1::2].T)[o]
        yy = (W[1::2] @ V[1::2].T)[o]
        ss = np.einsum("ij,ij->i", W[::2], V[::2])[self._order]
        if new:
            self._sy[:k, :k] = sy
            self._yy[:k, :k] = yy
            self._ss[:k] = ss
        else:
            self._sy[:k, :k] += sy
            self._yy[:k, :k] += yy
            self._ss[:k] += ss

    def _products(self, v):
        return (self._pairs[: 2 * len(self)] @ v).reshape(-1, 2)[self._order]

    def push(self, s, y):
        k = len(self)
        if k == self._capacity:
            row = self._order[0]
            self._order = np.append(self._order[1:], row)
            for g in (self._sy, self._yy):
                g[:-1, :-1] = g[1:, 1:]
            self._ss[:-1] = self._ss[1:]
            k -= 1
        else:
            row = k
            self._order = np.append(self._order, k)
        self._pairs[2 * row] = s
        self._pairs[2 * row + 1] = y
        if self._support is not None:
            s = s * self._support
            y = y * self._support
        p = self._products(y)
        k += 1
        self._sy[:k, k - 1] = p[:, 0]
        self._yy[:k, k - 1] = p[:, 1]
        self._yy[k - 1, :k] = p[:, 1]
        self._ss[k - 1] = s @ s

    def multiply(self, q, scale):
        """H q"""
        k = len(self)
        sy = self._sy[:k, :k]
        yy = self._yy[:k, :k]
        dsy = sy.diagonal()
        dyy = yy.diagonal()
        valid = dsy > 1e-10 * np.sqrt(self._ss[:k] * dyy)
        order = self._order
        if not valid.all():
            idx = np.flatnonzero(valid)
            if not idx.size:
                return scale * q
            sub = np.ix_(idx, idx)
            sy = sy[sub]
            yy = yy[sub]
            dsy = sy.diagonal()
            order = order[idx]
            dyy = yy.diagonal()
        elif k == 0:
            return scale * q
        scale = dsy[-1] / dyy[-1]
        p = (self._pairs[: 2 * k] @ q).reshape(-1, 2)[order]
        # sy.T in Fortran order is the lower triangle
        u = dtrsv(sy.T, p[:, 0], lower=1, trans=1)
        v = dtrsv(sy.T, dsy * u + scale * (yy @ u - p[:, 1]), lower=1)
        coef = np.zeros((k, 2))
        coef[order, 0] = v
        coef[order, 1] = -scale * u
        return scale * q + coef.ravel() @ self._pairs[: 2 * k]


@dataclass(slots=True)
class Point:
    theta: np.ndarray
    value: float
    grad: np.ndarray


class Run:
    def __init__(self, obj, theta0, memory):
        self.obj = obj
        self.kink = obj.has_kink
        self.n_fun = 0
        self.nf = self.ng = 0
        self.memory = LBFGSMemory(len(theta0), memory)
        self.pen = obj.penalized
        self.stats = dict(qn=0, z=0, seg=0, halv=0, backtr=0, certfail=0)

    def value(self, th):
        h = self.obj.kink_value(th) if self.kink else 0.0
        if not np.isfinite(h):
            return np.inf
        self.n_fun += 1
        self.nf += 1
        v = self.obj.smooth_value(th) + h
        return v if np.isfinite(v) else np.inf

    def point(self, th):
        h = self.obj.kink_value(th) if self.kink else 0.0
        if not np.isfinite(h):
            return Point(th, np.inf, None)
        self.n_fun += 1
        self.ng += 1
        f, g = self.obj.smooth_value_grad(th)
        v = f + h
        if not (np.isfinite(v) and np.isfinite(g).all()):
            v = np.inf
        return Point(th, v, g.copy())

    def fb(self, p, step):
        u = p.theta - step * p.grad
        if not self.kink:
            return u, p.grad
        z = self.obj.kink_prox(u, step)
        return z, np.where(self.pen, (p.theta - z) / step, p.grad)

    def certificate(self, p, step):
        """at small step"""
        if not self.kink:
            return np.abs(p.grad).max()
        gm = np.abs(p.grad).max()
        if gm > 0:
            step = min(
                step, 1e-6 * np.abs(p.theta[self.pen]).max(initial=0.0) / gm or step
            )
        return np.abs(self.fb(p, step)[1]).max()

    def floor(self, p):
        gm = np.abs(p.grad).max()
        return 1e4 * EPS * np.abs(p.theta).max() / gm if gm > 0 else 0.0


def prox_lbfgs(
    obj,
    theta0,
    *,
    tol=1e-5,
    ftol=1e-6,
    ftol_window=10,
    max_iter=1000,
    max_fun=10**9,
    scale=None,
    memory=20,
    callback=None,
):
    run = Run(obj, theta0, memory)
    mem = run.memory
    st = run.stats
    p = run.point(np.array(theta0, float))
    hist = []
    n_iter = 0
    if not np.isfinite(p.value):
        return Result(p.theta, 0, Status.NON_FINITE)
    scale = scale or np.abs(p.grad).max() or 1.0
    # initial step
    d = -p.grad
    nd = np.linalg.norm(d)
    step = 1.0
    if nd > 0:
        delta = max(1e-6 * max(np.linalg.norm(p.theta), 1.0), 1e-8) / nd
        q = run.point(p.theta + delta * d)
        dg = q.grad - p.grad
        L = np.linalg.norm(dg) / (delta * nd)
        if L > 0 and np.isfinite(L):
            step = 1 / L
        if OPT["probe_pair"] and not run.kink:
            mem.push(delta * d, dg)
    low = p.value
    best = []
    c = OPT["c"]
    status = None
    while True:
        step = max(step, run.floor(p))
        step0 = step
        z, R = run.fb(p, step)
        res = np.abs(R).max()
        zp = None
        if res <= tol * scale:
            if run.certificate(p, step) <= tol * scale:
                status = Status.CONVERGED
                break
            zp = run.point(z)
            st["certfail"] += 1
        if (
            ftol > 0
            and n_iter >= ftol_window
            and hist[n_iter - ftol_window] - p.value < ftol * abs(p.value)
            and False
        ):
            pass
        if (
            ftol > 0
            and n_iter > ftol_window
            and hist[-1 - ftol_window] - hist[-1] < ftol * abs(p.value)
        ):
            status = Status.FTOL
            break
        if n_iter >= max_iter or run.n_fun >= max_fun:
            status = Status.MAX_ITER
            break
        tau = OPT["tau"] * EPS * abs(low)
        new = None
        if zp is not None and zp.value <= low + tau:
            new = zp
            st["z"] += 1
        if new is None:
            if run.kink:
                J = (z != 0) | ~run.pen
                mem.restrict(J)
                cand = np.where(J, p.theta - mem.multiply(R * J, step), 0.0)
                cand = obj.kink_cross(p.theta, cand)
            else:
                cand = p.theta - mem.multiply(R, step)
            dd = cand - p.theta
            D = p.grad @ dd + (
                obj.kink_value(cand) - obj.kink_value(p.theta) if run.kink else 0.0
            )
            need = c * step * (R @ R)
            acc = OPT["acc"]
            if acc == "D" and D < 0:
                need = -c * D

            def suff(v, a):
                return v <= low - (a if acc == "D" and D < 0 else 1.0) * need + tau

            a = 1.0
            st["asc"] = st.get("asc", 0) + (D >= 0)
            if not (OPT["skip"] and D >= 0):
                t = run.point(cand)
                fv = t.value
                if suff(fv, 1.0):
                    new = t
                    st["qn"] += 1
                elif D < 0 and (np.isfinite(fv) or OPT["inf"]):
                    for i in range(OPT["tries"]):
                        a2 = (
                            -D * a * a / (2 * (fv - p.value - D * a))
                            if np.isfinite(fv)
                            else a / 10
                        )
                        a = min(max(a2, a / 10), a / 2)
                        st["backtr"] += 1
                        tp = run.point(p.theta + a * dd)
                        fv = tp.value
                        if suff(fv, a):
                            new = tp
                            break
        if new is None:
            n = 0
            while True:
                Fz = run.value(z)
                if Fz <= low - c * step * (R @ R) + tau:
                    break
                step /= 2
                n += 1
                st["halv"] += 1
                if n > 50 or step < run.floor(p):
                    z = None
                    break
                z, R = run.fb(p, step)
            if z is None:
                status = Status.STALLED
                break
            t = 1.0
            x = z
            for _ in range(5 if OPT["zseg"] else 0):
                t /= 2
                trial = z + t * (cand - z)
                st["backtr"] += 1
                if run.value(trial) <= Fz:
                    x = trial
                    st["seg"] += 1
                    break
            else:
                st["z"] += 1
            new = run.point(x)
        s = new.theta - p.theta
        dg = new.grad - p.grad
        if run.kink:
            y = run.fb(new, step)[1] - R
        else:
            y = dg
        mem.push(s, y)
        sy = s @ dg
        bb = sy / (dg @ dg) if sy > 0 else 2 * step0
        step = min(max(bb, step0 / 4), 2 * step0)
        p = new
        low = min(low, p.value)
        n_iter += 1
        hist.append(p.value)
        if callback:
            callback(p.theta, p.value, n_iter)
    r = Result(
        p.theta,
        n_iter,
        status,
        {"objective": hist},
        run.certificate(p, step) / scale,
        scale,
    )
    r.stats = dict(st, ng=run.ng, nf=run.nf)
    return r
