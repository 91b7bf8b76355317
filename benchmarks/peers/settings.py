"""The peers from PyPI by name, and their settings.

Where a setting comes from stands beside it. `LibRec` is "Examples on Real Data Sets" of LibRec 1.3,
guoguibing.github.io/librec/release/v1.3/example.html, whose models have the same updates. "Chosen
here" means the best of a small grid on a tenth of the training ratings, split off at random.
"""

from collections.abc import Callable

from benchmarks.peers.libraries import LIBMF, Cmfrec, Cornac, LensKit, MyFM, Peer, Surprise

LARGE = 300_000  # ratings from which a setting published for MovieLens-1M is taken, not for 100K


def peers(n_ratings: int, threads: int) -> dict[str, Callable[[], Peer]]:
    """The peers by name, at the settings for data of this size."""
    large = n_ratings >= LARGE
    # LibRec's BiasedMF with 80 factors and SVD++ with 10, both at the learning rate and epochs
    # of the latter: the former's rate, 0.07, adapts as it goes, which no peer's does.
    rate, epochs = (0.005, 80) if large else (0.01, 100)
    decay, decay_svdpp = (0.06, 0.05) if large else (0.1, 0.1)
    rank = 32 if large else 10  # myFM's examples ml-1m-regression.py, ml-100k-regression.py
    return {
        "Surprise SVD": lambda: Surprise("SVD"),
        "Surprise SVD, tuned": lambda: Surprise(
            "SVD", n_factors=80, n_epochs=epochs, lr_all=rate, reg_all=decay
        ),
        "Surprise SVD++": lambda: Surprise("SVDpp", cache_ratings=True),
        "Surprise SVD++, tuned": lambda: Surprise(
            "SVDpp",
            n_factors=10,
            n_epochs=epochs,
            lr_all=rate,
            reg_all=decay_svdpp,
            cache_ratings=True,
        ),
        # Its example biased_mf.py.
        "cornac MF": lambda: Cornac(
            threads=threads, k=10, max_iter=25, learning_rate=0.01, lambda_reg=0.02
        ),
        "cornac MF, tuned": lambda: Cornac(
            threads=threads, k=80, max_iter=epochs, learning_rate=rate, lambda_reg=decay
        ),
        "LensKit bias": lambda: LensKit("bias", damping=5.0),  # as within its ALS
        "LensKit ALS": lambda: LensKit("ALS"),
        # Chosen here of 25 to 100 factors, 0.1 to 0.3, 10 or 20 epochs; of large data of 50 to 100
        # factors, 0.05 to 0.2, and 10 epochs.
        "LensKit ALS, tuned": lambda: LensKit(
            "ALS", embedding_size=100 if large else 50, regularization=0.07 if large else 0.15
        ),
        # Its defaults, alone and with what it recommends for small data.
        "cmfrec": lambda: Cmfrec(threads=threads),
        "cmfrec implicit": lambda: Cmfrec(threads=threads, add_implicit_features=True),
        # Chosen here of 20 to 120 factors, of decays from 7 to 30, or scaled by numbers of ratings
        # from 0.05 to 0.17, and of weights of the implicit features from 0.02 to 8. More iterations
        # or exact solutions brought nothing. Of large data of 40 or 80 factors and fewer steps.
        "cmfrec, tuned": lambda: Cmfrec(
            threads=threads, scale_lam=True, k=80, lambda_=0.07 if large else 0.12
        ),
        "cmfrec implicit, tuned": lambda: Cmfrec(
            threads=threads,
            add_implicit_features=True,
            scale_lam=True,
            k=80 if large else 40,
            lambda_=0.07 if large else 0.14,
            w_implicit=2.0 if large else 1.5,
        ),
        # The defaults of its C++ code, and those of the real-valued demo there, demo.sh.
        "LIBMF": lambda: LIBMF(threads=threads, k=8, decay=0.1, nr_iters=20),
        "LIBMF, demo": lambda: LIBMF(threads=threads, k=100, decay=0.05, nr_iters=10),
        # Chosen here of 16 to 100 factors, 0.04 to 0.12, 20 to 100 iterations.
        "LIBMF, tuned": lambda: LIBMF(
            threads=threads, k=100 if large else 40, decay=0.06 if large else 0.1, nr_iters=20
        ),
        # Its tutorial takes 200 iterations, the examples 512; both keep all of them.
        "myFM, 200": lambda: MyFM(rank=rank, n_iter=200, flipped=False),
        "myFM, 512": lambda: MyFM(rank=rank, n_iter=512, flipped=False),
        "myFM flipped, 200": lambda: MyFM(rank=rank, n_iter=200, flipped=True),
        "myFM flipped, 512": lambda: MyFM(rank=rank, n_iter=512, flipped=True),
    }


def in_context(n_ratings: int, threads: int) -> dict[str, Callable[[], Peer]]:
    """The same of those that can use times or descriptions, alone and with these."""
    large = n_ratings >= LARGE
    rank = 32 if large else 10
    alone = peers(n_ratings, threads)
    names = "myFM flipped, 512", "cmfrec implicit, tuned"
    return {name: alone[name] for name in names} | {
        "myFM flipped, 512, with times and descriptions": lambda: MyFM(
            rank=rank, n_iter=512, flipped=True, times=True, descriptions=True
        ),
        # Chosen here of 20 to 80 factors, of decays from 0.06 to 0.16, and of weights of the tables
        # from 0.02 to 30. Of large data none was tried.
        "cmfrec implicit, tuned, with descriptions": lambda: Cmfrec(
            threads=threads,
            descriptions=True,
            add_implicit_features=True,
            scale_lam=True,
            k=80 if large else 40,
            lambda_=0.07 if large else 0.1,
            w_implicit=2.0 if large else 1.5,
            w_user=2.0,
            w_item=8.0,
        ),
    }
