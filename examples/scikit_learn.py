"""scikit-learn: a classifier in stages, in a pipeline, tuned by a grid search, and asked stage by stage.

pip install "torchsid[sklearn]"
python examples/scikit_learn.py
"""

from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchsid.integrations.sklearn import SIDClassifier, SIDRegressor

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
pipeline = make_pipeline(StandardScaler(), SIDClassifier(max_iter=30, random_state=0))
search = GridSearchCV(pipeline, {"sidclassifier__stages": [1, 3]}, cv=3).fit(X_train, y_train)
print(f"chosen: {search.best_params_}, test accuracy {search.score(X_test, y_test):.3f}")

scale, classifier = search.best_estimator_
for stage, belief in enumerate(classifier.staged_predict_proba(scale.transform(X_test)), 1):
    print(f"stage {stage}: {(belief.argmax(1) == y_test).mean():.3f}")

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
regressor = SIDRegressor(early_stopping=True, random_state=0).fit(X_train, y_train)
low, high = regressor.predict_interval(X_test, level=0.9).T
inside = ((low <= y_test) & (y_test <= high)).mean()
print(f"diabetes: R² {regressor.score(X_test, y_test):.2f}; {inside:.0%} of the targets lie in intervals that promise 90 %")
