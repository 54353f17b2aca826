"""Run the study: `python -m simulations.embedding_study`."""

from simulations.embedding_study.study import main

if __name__ == "__main__":
    main()
